"""An OpenID Connect issuer on loopback that always gives the same tokens: what
oidc-agent needs to be measured. It prints its port."""

import http.server
import json


class Issuer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = f"http://localhost:{self.server.server_port}/"
        endpoints = ["authorization", "token", "revocation", "registration", "device_authorization", "userinfo"]
        self.answer({
            "issuer": url,
            **{f"{name}_endpoint": url + name for name in endpoints},
            "jwks_uri": url + "keys",
            "scopes_supported": ["openid", "offline_access"],
            "grant_types_supported": ["refresh_token", "authorization_code"],
            "response_types_supported": ["code"],
        })

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer({
            "access_token": "fake-access",
            "refresh_token": "fake-refresh",
            "token_type": "Bearer",
            "expires_in": 172800,
            "scope": "openid offline_access",
        })


server = http.server.HTTPServer(("127.0.0.1", 0), Issuer)
print(server.server_port, flush=True)
server.serve_forever()
