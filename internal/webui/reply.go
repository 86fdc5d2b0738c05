package webui

import "slices"

// checkDetail is the part of POST /validate/check's detail that a login page reads.
type checkDetail struct {
	Message       string
	TransactionID string `json:"transaction_id"`
	Serial        string
}

// Keys of the refusals of /validate/... that the pages tell apart (login.Result.Key). Their texts are fault.<key>.
const (
	wrongPIN  = "wrong_pin"
	wrongCode = "wrong_code"
	exceeded  = "exceeded"
	disabled  = "disabled"
	unsent    = "unsent"
)

// refused returns the sentence of a refused login. On the sample login, which is open to all, each key that is not
// among shown becomes the key instead, so that the page reveals neither which users exist nor the state of their
// tokens.
func (v *visit) refused(a answer, message, instead string, shown ...string) string {
	is := a.about(0)
	if v.stranger() && !slices.Contains(shown, is.key) {
		is = about{key: instead}
	}
	return v.text.fault(is.key, is.args, message)
}

// stranger reports whether the page is the sample login, which is open to all.
func (v *visit) stranger() bool { return v.r.URL.Path == pathLogin }
