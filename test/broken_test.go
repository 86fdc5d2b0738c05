package test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"otpost/test/broken"
	"otpost/test/e2e"
)

// report is the answer to a test mail with report=1.
type report struct {
	Value   bool
	Message string `json:"message"`
	ID      string `json:"id"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
	Via     string `json:"via"`

	Diagnosis struct {
		Code     string `json:"code"`
		Sentence string `json:"sentence"`
	} `json:"diagnosis"`
	Attempts []struct {
		Result    string        `json:"result"`
		Phase     string        `json:"phase"`
		Code      int           `json:"code"`
		Enhanced  string        `json:"enhanced"`
		Text      string        `json:"text"`
		Diagnosis string        `json:"diagnosis"`
		Phases    []phaseReport `json:"phases"`
	} `json:"attempts"`
}

// phaseReport is one phase of an attempt.
type phaseReport struct {
	Phase    string  `json:"phase"`
	MS       float64 `json:"ms"`
	Code     int     `json:"code"`
	Enhanced string  `json:"enhanced"`
	Text     string  `json:"text"`
	TLS      *struct {
		Version string `json:"version"`
		Cipher  string `json:"cipher"`
		Chain   []struct {
			Subject   string   `json:"subject"`
			Issuer    string   `json:"issuer"`
			Names     []string `json:"names"`
			NotBefore string   `json:"not_before"`
			NotAfter  string   `json:"not_after"`
		} `json:"chain"`
	} `json:"tls"`
}

// pressed is the recipient of the test mails.
const pressed = "buttonpresser@example.org"

// pressTest sends a test mail with a report and returns it with the answer as it came.
func pressTest(t *testing.T, c *e2e.Client, identifier string, form map[string]any) (report, string) {
	t.Helper()
	all := map[string]any{"identifier": identifier, "recipient": pressed, "report": 1}
	maps.Copy(all, form)
	a := c.Must(t, "POST", "/smtpserver/send_test_email", all)
	var answer struct {
		Detail report `json:"detail"`
	}
	if err := json.Unmarshal([]byte(a.Raw), &answer); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	answer.Detail.Value = string(a.Result.Value) == "true"
	return answer.Detail, a.Raw
}

// TestBrokenServersHaveTheirDiagnoses presses the test button before each of the twelve broken mail
// servers: in the request and by a worker.
func TestBrokenServersHaveTheirDiagnoses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	servers := broken.Servers(t)
	if len(servers) != 12 {
		t.Fatalf("%d set-ups, want 12", len(servers))
	}
	seen := map[string]string{}
	t.Run("all", func(t *testing.T) {
		for _, s := range servers {
			if other := seen[s.Says]; other != "" {
				t.Errorf("%s and %s have one sentence", s.Name, other)
			}
			seen[s.Says] = s.Name
			for _, via := range []string{"inline", "queue"} {
				t.Run(s.Name+" "+via, func(t *testing.T) {
					t.Parallel()
					form := maps.Clone(s.Form)
					form["enqueue_job"] = via == "queue"
					r, raw := pressTest(t, w.server.Client, s.Name, form)
					if r.Via != via {
						t.Errorf("via %s, want %s", r.Via, via)
					}
					checkReport(t, s, r, raw)
					keepsSecrets(t, "answer", raw)
				})
			}
		}
	})
	keepsSecrets(t, "log", w.server.Out.String()+w.server.Err.String())
}

// checkReport compares a report with the expected one for the broken server.
func checkReport(t *testing.T, s broken.Server, r report, raw string) {
	t.Helper()
	if r.Value || r.State != "failed" || len(r.Attempts) == 0 {
		t.Fatalf("answer: %s", raw)
	}
	if r.Diagnosis.Code != s.Diagnosis || !strings.Contains(r.Diagnosis.Sentence, s.Says) {
		t.Errorf("diagnosis %+v, want %s, %q", r.Diagnosis, s.Diagnosis, s.Says)
	}
	if !strings.HasPrefix(r.Message, r.Diagnosis.Sentence+" ") {
		t.Errorf("message %q", r.Message)
	}
	last := r.Attempts[len(r.Attempts)-1]
	if last.Diagnosis != s.Diagnosis || last.Phase != s.Phase || last.Code != s.Reply || last.Enhanced != s.Enhanced ||
		!strings.Contains(last.Text, s.Text) {
		t.Errorf("attempt %+v", last)
	}
	if len(last.Phases) == 0 {
		t.Fatalf("no phases: %s", raw)
	}
	end := last.Phases[len(last.Phases)-1]
	if end.Phase != s.Phase || end.Code != s.Reply || end.Enhanced != s.Enhanced ||
		!strings.Contains(end.Text, s.Text) {
		t.Errorf("last phase %+v", end)
	}
	for _, p := range last.Phases[:len(last.Phases)-1] {
		if p.Code >= 400 || p.MS < 0 || p.Code == 0 && p.Phase != "data" && p.Phase != "connect" {
			t.Errorf("phase %+v before the end", p)
		}
	}
	if !s.Chain {
		return
	}
	if end.TLS == nil || len(end.TLS.Chain) != 1 {
		t.Fatalf("no certificate: %s", raw)
	}
	if c := end.TLS.Chain[0]; c.Subject != "CN=broken.example.org" || c.Issuer == "" || len(c.Names) != 1 ||
		c.NotBefore >= c.NotAfter || end.TLS.Version == "" {
		t.Errorf("TLS %+v", *end.TLS)
	}
}

// keepsSecrets fails the test if a text contains recipient or password, in plain text or Base64.
func keepsSecrets(t *testing.T, what, text string) {
	t.Helper()
	for _, s := range []string{
		pressed, broken.Password, base64.StdEncoding.EncodeToString([]byte("\x00" + broken.Username + "\x00" +
			broken.Password)),
	} {
		if strings.Contains(text, s) {
			t.Errorf("the %s holds a secret", what)
		}
	}
}

// TestReportOfATestMailThatWasTaken: the same detail as of one that fails, with nothing to do.
func TestReportOfATestMailThatWasTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, raw := pressTest(t, w.server.Client, "inline", map[string]any{"server": "127.0.0.1", "port": w.sink.Port,
		"sender": broken.Sender, "timeout": 10})
	if !r.Value || r.State != "accepted" || r.Diagnosis.Code != "" || len(r.Attempts) != 1 ||
		r.Attempts[0].Diagnosis != "" {
		t.Fatalf("answer: %s", raw)
	}
	var phases []string
	for _, p := range r.Attempts[0].Phases {
		phases = append(phases, p.Phase)
	}
	if got := strings.Join(phases, " "); got != "connect greeting ehlo mail rcpt data data reply" {
		t.Errorf("phases %s", got)
	}
	code, p := e2e.Run(t, w.Otpost("queue", "show", "--config", w.Config, r.ID))
	if out := p.Out.String(); code != 0 || !strings.Contains(out, "accepted") || !strings.Contains(out, "attempt 1") {
		t.Errorf("otpost queue show: %d\n%s%s", code, out, p.Err)
	}
}

// TestTestMailThatNoWorkerTakes ends long before its time-out, says that a worker is missing, and is withdrawn.
func TestTestMailThatNoWorkerTakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--workers", "0")
	r, raw := pressTest(t, w.server.Client, "queued", map[string]any{
		"server": "127.0.0.1", "port": w.sink.Port, "sender": broken.Sender, "timeout": 600, "enqueue_job": true,
	})
	if r.Value || r.State != "dropped" || r.Diagnosis.Code != "no_worker" ||
		!strings.Contains(r.Diagnosis.Sentence, "otpost worker") || len(r.Attempts) != 0 {
		t.Fatalf("answer: %s", raw)
	}
	if w.sink.Count() != 0 {
		t.Error("it was sent")
	}
}
