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

// refused returns the sentence of a refused login. For the sample login, which everybody may open, each key that is not among shown
// becomes the key instead: it tells strangers neither which users exist nor the state of their tokens.
func (v *visit) refused(a answer, message, instead string, shown ...string) string {
	is := a.about(0)
	if v.stranger() && !slices.Contains(shown, is.key) {
		is = about{key: instead}
	}
	return v.text.fault(is.key, is.args, message)
}

// stranger reports whether the page is the sample login, which everybody may open.
func (v *visit) stranger() bool { return v.r.URL.Path == pathLogin }
