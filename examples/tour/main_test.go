package main

// The tour says the same every time.
func Example() {
	main()
	// Output:
	// 1. Somebody logs in with a browser. The login is stored.
	//    fake-person@example.org can use: auth.globus.org groups.api.globus.org transfer.api.globus.org
	// 2. We search every byte below the store's directory for the tokens.
	//    5 files searched, tokens found: 0
	// 3. A program that has the key gets a token.
	//    printed by mistake:  [redacted]
	//    printed on purpose:  fake-access-000004
	// 4. Three days later the access token is over. Twenty programs need one at once.
	//    hook: the login at transfer.api.globus.org was renewed, and is stored
	//    programs with a new token: 20; requests to the issuer: 1; hooks: 1
	// 5. Somebody logs out of Groups.
	//    at the issuer: refresh token dead: true, access token active: false
	// 6. Somebody who can write the file puts another token in transfer's place.
	//    refused: get token "transfer.api.globus.org" in namespace "DEFAULT" of …/tokens.json: tampered with: its seal does not open here: changed, or moved from another place
}
