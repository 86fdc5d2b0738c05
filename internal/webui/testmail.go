package webui

import (
	"encoding/json"
	"net/http"
	"time"
)

// report is what POST /smtpserver/send_test_email tells with report=1.
type report struct {
	Accepted  bool
	Message   string
	State     string
	Via       string
	Diagnosis struct{ Code, Sentence string }
	Attempts  []attempt
	At        time.Time
}

// Words returns the reply to the last attempt for a sentence; empty: none was made.
func (r report) Words() string {
	if len(r.Attempts) == 0 {
		return ""
	}
	return r.Attempts[len(r.Attempts)-1].Words()
}

// testServer sends a test mail by what the form says, saved or not, and shows it step by step.
func (v *visit) testServer() error {
	p, err := v.typedServer()
	if err != nil {
		return err
	}
	asked := p.params(v.r.PostForm)
	asked.Set("recipient", v.r.PostForm.Get("recipient"))
	asked.Set("report", "1")
	p.Recipient = v.recipient()
	a, err := v.call(http.MethodPost, pathTo("smtpserver", testRoute), asked)
	if err != nil {
		code := status(err)
		if p.Above, err = v.blame(append(fields(p.Groups), &p.Recipient), err); err != nil {
			return err
		}
		v.showServer(code, p)
		return nil
	}
	p.Report = &report{At: v.site.options.Now()}
	if err := json.Unmarshal(a.Detail, p.Report); err != nil {
		return err
	}
	if err := json.Unmarshal(a.Value, &p.Report.Accepted); err != nil {
		return err
	}
	v.showServer(http.StatusOK, p)
	return nil
}
