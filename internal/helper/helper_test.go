package helper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/globus-keys/globus-keys/keystore"
)

// parrot answers with what it understood.
type parrot struct{ asked []Request }

func (p *parrot) Do(_ context.Context, r Request) (Answer, error) {
	p.asked = append(p.asked, r)
	if r.Name == "fails" {
		return Answer{}, &keystore.Error{Err: keystore.ErrLocked}
	}
	return Answer{Names: []string{r.Op}, Value: r.Value}, nil
}

func (p *parrot) Explain(err error) Failure {
	return Failure{Code: Code(err), Message: err.Error(), Hint: "do something"}
}

// talk serves lines, whose last answer it waits for before the input ends, and returns
// the answers.
func talk(t *testing.T, h Handler, lines ...string) (answers []Answer, end error) {
	t.Helper()
	in, toHelper := io.Pipe()
	fromHelper, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(t.Context(), in, out, h)
		out.Close()
		in.Close()
	}()
	d := json.NewDecoder(fromHelper)
	for _, line := range lines {
		if _, err := io.WriteString(toHelper, line); err != nil || !strings.HasSuffix(line, "\n") {
			break
		}
		var a Answer
		if d.Decode(&a) != nil {
			break
		}
		answers = append(answers, a)
	}
	toHelper.Close()
	return answers, <-ended
}

func TestRequestsAreAnsweredInOrder(t *testing.T) {
	answers, err := talk(t, &parrot{},
		`{"v":1,"id":7,"op":"hello"}`+"\n",
		`{"v":1,"id":8,"op":"config-put","namespace":"n","name":"c","value":null}`+"\n",
		`{"v":1,"id":9,"op":"config-get","namespace":"n","name":"fails"}`+"\n",
		`{"v":1,"id":10,"op":"list","namespace":"n","after":""}`+"\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Answer{
		{Version: 1, ID: 7, Names: []string{"hello"}},
		{Version: 1, ID: 8, Names: []string{"config-put"}, Value: json.RawMessage("null")},
		{Version: 1, ID: 9, Error: &Failure{"locked", "the store is locked", "do something"}},
		{Version: 1, ID: 10, Names: []string{"list"}},
	}
	if !reflect.DeepEqual(answers, want) {
		t.Errorf("%+v", answers)
	}
}

func TestBadRequests(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":          ``,
		"no JSON":          `fake-secret`,
		"two values":       `{"v":1,"id":1,"op":"hello"} {}`,
		"an array":         `[1]`,
		"null":             `null`,
		"another version":  `{"v":2,"id":1,"op":"hello"}`,
		"no version":       `{"id":1,"op":"hello"}`,
		"no id":            `{"v":1,"op":"hello"}`,
		"id of a fraction": `{"v":1,"id":1.5,"op":"hello"}`,
		"no operation":     `{"v":1,"id":1}`,
		"unknown":          `{"v":1,"id":1,"op":"fake-secret"}`,
		"a key twice":      `{"v":1,"id":1,"op":"hello","op":"get"}`,
		"wrong case":       `{"v":1,"id":1,"Op":"hello"}`,
		"case beside":      `{"v":1,"id":1,"op":"get","namespace":"n","Namespace":"m","resource_server":"r"}`,
		"field too many":   `{"v":1,"id":1,"op":"hello","fake-secret":1}`,
		"field too few":    `{"v":1,"id":1,"op":"get","namespace":"n"}`,
		"field of null":    `{"v":1,"id":1,"op":"get","namespace":null,"resource_server":"r"}`,
		"another's field":  `{"v":1,"id":1,"op":"get","namespace":"n","resource_server":"r","had":"h"}`,
		"wrong type":       `{"v":1,"id":1,"op":"get","namespace":"n","resource_server":["fake-secret"]}`,
		"not UTF-8":        `{"v":1,"id":1,"op":"get","namespace":"n","resource_server":"` + "\xff" + `"}`,
		"half a surrogate": `{"v":1,"id":1,"op":"get","namespace":"n","resource_server":"\ud800"}`,
		"twice in a value": `{"v":1,"id":1,"op":"config-put","namespace":"n","name":"c","value":[{"a":1,"a":"fake-secret"}]}`,
		"deep":             `{"v":1,"id":1,"op":"config-put","namespace":"n","name":"c","value":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := &parrot{}
			answers, err := talk(t, p, text+"\n", `{"v":1,"id":2,"op":"hello"}`+"\n")
			if err != nil || len(answers) != 2 || answers[1].Error != nil || len(p.asked) != 1 {
				t.Fatalf("it does not go on: %+v, %v", answers, err)
			}
			e := answers[0].Error
			if e == nil || e.Code != "invalid" || strings.Contains(e.Message, "fake-secret") {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A line that is too long ends the service, whatever it holds.
func TestLongLine(t *testing.T) {
	long := fmt.Sprintf(`{"v":1,"id":1,"op":"config-put","namespace":"n","name":"c","value":"%s"}`, strings.Repeat("x", MaxLine)) + "\n"
	var out bytes.Buffer
	p := &parrot{}
	err := Serve(t.Context(), strings.NewReader(long+`{"v":1,"id":2,"op":"hello"}`+"\n"), &out, p)
	if !errors.Is(err, keystore.ErrTooLarge) || len(p.asked) != 0 {
		t.Errorf("%v", err)
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"code":"too_large"`) {
		t.Error(got)
	}
}

func TestLongestLine(t *testing.T) {
	frame := len(`{"v":1,"id":1,"op":"get","namespace":"n","resource_server":""}` + "\n")
	longest := fmt.Sprintf(`{"v":1,"id":1,"op":"get","namespace":"n","resource_server":"%s"}`, strings.Repeat("x", MaxLine-frame)) + "\n"
	answers, err := talk(t, &parrot{}, longest)
	if err != nil || len(answers) != 1 || answers[0].Error != nil {
		t.Errorf("%v", err)
	}
}

func TestHalfALineIsNotDone(t *testing.T) {
	p := &parrot{}
	answers, err := talk(t, p, `{"v":1,"id":1,"op":"hello"}`)
	if err != nil || len(answers) != 0 || len(p.asked) != 0 {
		t.Errorf("%+v, %v", answers, err)
	}
}

// An answer that is longer than a line may be is not sent, and the next one is.
func TestLongAnswer(t *testing.T) {
	const hello = `{"v":1,"id":3,"op":"hello"}` + "\n"
	short := len(encode(Answer{Version: Version, ID: 3, Program: "x"})) - 1
	answers, err := talk(t, &talker{MaxLine - short, MaxLine - short + 1, 1}, hello, hello, hello)
	if err != nil || len(answers) != 3 {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	for i, code := range []string{"", "too_large", ""} {
		a := answers[i]
		if a.ID != 3 || (a.Error == nil) != (code == "") || code != "" && (a.Error.Code != code || a.Program != "") {
			t.Errorf("answer %d: id %d, %+v, %d bytes", i, a.ID, a.Error, len(a.Program))
		}
	}
}

// talker answers with so many bytes, and then so many.
type talker []int

func (l *talker) Do(context.Context, Request) (Answer, error) {
	n := (*l)[0]
	*l = (*l)[1:]
	return Answer{Program: strings.Repeat("x", n)}, nil
}

func (*talker) Explain(err error) Failure { return (&parrot{}).Explain(err) }

// waiting is a handler that is at work until its context ends.
type waiting struct {
	parrot
	begun chan struct{}
}

func (w *waiting) Do(ctx context.Context, r Request) (Answer, error) {
	close(w.begun)
	<-ctx.Done()
	return Answer{}, ctx.Err()
}

// The end of input ends what is under way: nobody waits for the answer.
func TestEndOfInputEndsARequest(t *testing.T) {
	in, toHelper := io.Pipe()
	w := &waiting{begun: make(chan struct{})}
	ended := make(chan error)
	go func() { ended <- Serve(t.Context(), in, io.Discard, w) }()
	io.WriteString(toHelper, `{"v":1,"id":1,"op":"hello"}`+"\n")
	<-w.begun
	toHelper.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A client that does not read cannot keep the helper from being ended.
func TestClientThatDoesNotRead(t *testing.T) {
	in, toHelper := io.Pipe()
	full := fullPipe{begun: make(chan struct{}), gone: t.Context()}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Serve(ctx, in, full, &parrot{}) }()
	io.WriteString(toHelper, `{"v":1,"id":1,"op":"hello"}`+"\n")
	<-full.begun
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// fullPipe takes nothing until the test is over.
type fullPipe struct {
	begun chan struct{}
	gone  context.Context
}

func (f fullPipe) Write([]byte) (int, error) {
	close(f.begun)
	<-f.gone.Done()
	return 0, f.gone.Err()
}

func TestClientThatIsGone(t *testing.T) {
	in, toHelper := io.Pipe()
	gone, out := io.Pipe()
	gone.Close()
	ended := make(chan error)
	go func() { ended <- Serve(t.Context(), in, out, &parrot{}) }()
	io.WriteString(toHelper, `{"v":1,"id":1,"op":"hello"}`+"\n")
	if err := <-ended; err == nil {
		t.Error("nobody has read the answer")
	}
}

// Any line is decoded to a request that means the same when it is written anew, or
// refused without a word of it.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":1,"op":"get","namespace":"DEFAULT","resource_server":"transfer.api.globus.org"}`))
	f.Add([]byte(`{"v":1,"id":1,"op":"put","namespace":"DEFAULT","client_id":"c","records":[{"access_token":"a"}]}`))
	f.Add([]byte(`{"v":1,"id":-1,"op":"config-put","namespace":"a","name":"b","value":{"c":[1,"\u00e9",null]}}`))
	f.Add([]byte(`{"v":1,"id":1,"op":"namespaces","include_config":true}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decode(line)
		if err != nil {
			if Code(err) != "invalid" {
				t.Fatalf("%v is %s", err, Code(err))
			}
			return
		}
		if again, err := decode(written(t, r)); err != nil || !same(r, again) {
			t.Fatalf("%+v, then %+v, %v", r, again, err)
		}
	})
}

// written is a request as a line with the fields of its operation.
func written(t *testing.T, r Request) []byte {
	all, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var found map[string]json.RawMessage
	json.Unmarshal(all, &found)
	line := map[string]any{"v": Version, "id": r.ID, "op": r.Op}
	for _, name := range fields[r.Op] {
		line[name] = found[name]
	}
	text, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func same(a, b Request) bool {
	was, errA := json.Marshal(a)
	is, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(was, is)
}
