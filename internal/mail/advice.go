package mail

import "strings"

// Advice is what is told of a diagnosis.
type Advice struct {
	Diagnosis Diagnosis
	Sentence  string // {server} stands for the mail server: at host:port, or its identifier
}

// Advices returns the sentence of each diagnosis, in the order of a session: what is wrong, and what to do.
func Advices() []Advice {
	return []Advice{
		{NoDNS, `No address was found for the mail server {server}. Is its name spelled right? Can this host resolve it (DNS, /etc/hosts)?`},
		{ForbiddenAddress, `The mail server {server} is at an address that otpost never connects to: link-local, multicast, otpost's own ` +
			`listener or the queue's Redis. Enter the address of a mail server.`},
		{Refused, `The mail server {server} refused the connection. Is the port right? Usual ports: 25, 587 (STARTTLS), 465 (smtps://).`},
		{Timeout, `The mail server {server} did not answer in time. Are address and port right? Does a firewall on the way drop the ` +
			`connection? If the server is only slow, raise the timeout.`},
		{Disconnected, `The mail server {server} closed the connection. Does it take mail from this host? Its log should say why.`},
		{NotSMTP, `The server {server} does not speak SMTP. Is the port right? Usual ports: 25, 587 (STARTTLS), 465 (smtps://).`},
		{NoSTARTTLS, `The mail server {server} does not offer STARTTLS. Turn STARTTLS on there, use smtps:// with port 465, or untick TLS if ` +
			`the way to the server is safe.`},
		{TLSElsewhere, `The mail server {server} wants TLS in another way. Port 465 takes TLS from the start: write smtps:// before the ` +
			`server's name. Ports 25 and 587 take STARTTLS: tick TLS, without smtps://.`},
		{TLSFailed, `The mail server {server} and otpost came to no TLS connection. Does the server speak TLS 1.2 or 1.3, and is a ` +
			`certificate set up there? Its log should say more.`},
		{CertificateExpired, `The certificate of the mail server {server} has expired or is not valid yet. Renew it there, and check the ` +
			`clocks of both hosts.`},
		{CertificateName, `The certificate of the mail server {server} is for another name. Enter the server under one of the names in its ` +
			`certificate, or have a certificate issued for this name.`},
		{CertificateUntrusted, `The certificate of the mail server {server} is signed by nobody this host trusts. If it comes from your own ` +
			`authority or signs itself, name the file of that certificate in ca_file.`},
		{AuthUnencrypted, `The password was not sent to the mail server {server}: the connection is not encrypted. Tick TLS, or use ` +
			`smtps:// with port 465.`},
		{AuthUnavailable, `The mail server {server} offers no log-in that otpost knows (PLAIN, LOGIN, CRAM-MD5), or none at this moment. Many ` +
			`servers offer it only with TLS: tick TLS. If no log-in is needed, leave the user name empty.`},
		{AuthFailed, `The mail server {server} did not accept user name and password. Type both again; some providers want an ` +
			`application password, or must allow SMTP for the account first.`},
		{AuthRequired, `The mail server {server} takes mail only after a log-in. Enter a user name and a password.`},
		{SenderRefused, `The mail server {server} does not accept the sender's address. Enter an address as sender that this server, or ` +
			`this user, may send from.`},
		{RecipientRefused, `The mail server {server} does not accept the recipient's address. Is it spelled right, does the mailbox exist, and has it room?`},
		{RelayDenied, `The mail server {server} does not pass on mail from this host. Let it relay for this host's address, or enter a user ` +
			`name and a password that it knows.`},
		{Greylisted, `The mail server {server} put the mail off because it does not know this sender yet (greylisting). Such a mail is often ` +
			`taken after some minutes, which is too late for a code: exempt this host from greylisting there.`},
		{Throttled, `The mail server {server} cannot take the mail at the moment: it is busy, short of space, or gets too many mails from ` +
			`here. Try again later; its log should say why.`},
		{TooLarge, `The mail is too large for the mail server {server}. Raise the size limit there, or shorten the ` +
			`text of the mail.`},
		{MessageRefused, `The mail server {server} refused the mail for its content or by a rule of its own, such as a spam filter. Look for ` +
			`the reply in that server's log, and exempt this host there.`},
		{SMIME, `The mail could not be signed (S/MIME): it was not sent, or went unsigned where this SMTP server allows that. Check key, key password and certificate of this SMTP server.`},
		{TooLate, `The mail's time was over before the mail server {server} could be given it. Does a worker run? otpost queue status shows it; start one ` +
			`with: otpost worker.`},
		{Internal, `otpost itself could not give the mail to the mail server {server}. Its log says more.`},
	}
}

// Sentence returns what is wrong and what to do; empty for no or an unknown diagnosis. server is how the mail server is called,
// such as "at mail.example.org:25".
func (d Diagnosis) Sentence(server string) string {
	for _, a := range Advices() {
		if a.Diagnosis == d {
			return strings.ReplaceAll(a.Sentence, "{server}", server)
		}
	}
	return ""
}

// Sentence returns the sentence of a diagnosis for this mail server, with its address.
func (s Server) Sentence(d Diagnosis) string {
	e, err := s.Endpoint()
	if err != nil {
		return d.Sentence(`"` + s.Identifier + `"`)
	}
	return d.Sentence("at " + e.Address())
}
