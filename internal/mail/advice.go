package mail

import (
	"slices"
	"strconv"
	"strings"
)

// Advice is the sentence of a diagnosis.
type Advice struct {
	Diagnosis Diagnosis
	Sentence  string // placeholders: {server} is "at host:port" or the identifier, {reply} the server's reply
}

// Advices returns the sentence of each diagnosis, in the order of a session: what is wrong, and what to do.
func Advices() []Advice {
	return slices.Concat(connectionAdvices(), tlsAdvices(), logInAdvices(), mailAdvices(), endAdvices())
}

func connectionAdvices() []Advice {
	return []Advice{
		{NoDNS,
			`No address was found for the mail server {server}. Is its name spelled right? Can this host resolve ` +
				`it (DNS, /etc/hosts)?`},
		{ForbiddenAddress,
			`The mail server {server} is at an address that otpost never connects to: link-local, multicast, ` +
				`otpost's own listener or the queue's Redis. Enter the address of a mail server.`},
		{Refused,
			`The mail server {server} refused the connection. Is the port right? Usual ports: 25, 587 ` +
				`(STARTTLS), 465 (smtps://).`},
		{Timeout,
			`The mail server {server} did not answer in time. Are address and port right? Does a firewall on the ` +
				`way drop the connection? If the server is only slow, raise the timeout.`},
		{NoGreeting,
			`The mail server {server} took the connection and sent no greeting in time. Some servers look up ` +
				`this host's name first or slow down unknown hosts: raise the timeout, or exempt this host there. If ` +
				`nothing ever comes, the port belongs to another service, or a firewall answers in the server's ` +
				`place.`},
		{Disconnected,
			`The mail server {server} closed the connection. Does it take mail from this host? Its log should ` +
				`say why.`},
		{NotSMTP,
			`The server {server} does not speak SMTP. Is the port right? Usual ports: 25, 587 (STARTTLS), 465 ` +
				`(smtps://).`},
		{HostRefused,
			`The mail server {server} accepts no connection from this host: {reply}. Allow this host's address ` +
				`there.`},
		{HelloRefused,
			`The mail server {server} does not accept the name by which otpost introduces this host (EHLO). ` +
				`Enter in ehlo_name a full host name that the mail server can look up, such as otp.example.com.`},
	}
}

func tlsAdvices() []Advice {
	return []Advice{
		{NoSTARTTLS,
			`The mail server {server} does not offer STARTTLS. Turn STARTTLS on there, use smtps:// with port ` +
				`465, or untick TLS if the way to the server is safe.`},
		{STARTTLSRefused,
			`The mail server {server} offers STARTTLS and then refuses it: {reply}. Its certificate or key is ` +
				`often missing or unreadable; its log should say why.`},
		{TLSRequired,
			`The mail server {server} takes this only over an encrypted connection. Tick TLS, or use smtps:// ` +
				`with port 465.`},
		{TLSElsewhere,
			`The mail server {server} wants TLS in another way. Port 465 takes TLS from the start: write ` +
				`smtps:// before the server's name. Ports 25 and 587 take STARTTLS: tick TLS, without smtps://.`},
		{TLSFailed,
			`The mail server {server} and otpost came to no TLS connection. Does the server speak TLS 1.2 with ` +
				`ECDHE, or TLS 1.3 (otpost has no DHE and no RSA key exchange), and is a certificate set up there? ` +
				`Its log should say more.`},
		{CertificateExpired,
			`The certificate of the mail server {server} has expired or is not valid yet. Renew it there, and ` +
				`check the clocks of both hosts.`},
		{CertificateName,
			`The certificate of the mail server {server} is for another name. Enter the server under one of the ` +
				`names in its certificate, or have a certificate issued for this name.`},
		{CertificateUntrusted,
			`The certificate of the mail server {server} is signed by no authority that this host trusts. If it ` +
				`comes from your own authority or signs itself, name the file of that certificate in ca_file.`},
	}
}

func logInAdvices() []Advice {
	return []Advice{
		{AuthUnencrypted,
			`The password was not sent to the mail server {server}: the connection is not encrypted. Tick TLS, ` +
				`or use smtps:// with port 465.`},
		{AuthUnavailable,
			`The mail server {server} offers no log-in that otpost knows (PLAIN, LOGIN, CRAM-MD5). Many servers ` +
				`offer it only with TLS: tick TLS. If no log-in is needed, leave the user name empty.`},
		{AuthRefused,
			`The mail server {server} offers a log-in and then refuses it, without a word about the password: ` +
				`{reply}. Many servers want TLS first: tick TLS. If no log-in is needed, leave the user name empty.`},
		{AuthDeferred,
			`The mail server {server} cannot check the log-in at the moment: {reply}. It is often the server ` +
				`behind it that keeps the accounts; its log should say why.`},
		{AuthDisabled,
			`The mail server {server} does not let this account log in by SMTP. Have SMTP (SMTP AUTH) enabled ` +
				`for the account there, or unlock it.`},
		{AppPassword,
			`The mail server {server} wants an application password for this account. Create one in the ` +
				`account's settings there, and enter it as the password.`},
		{AuthFailed,
			`The mail server {server} did not accept user name and password. Type both again; some providers ` +
				`want an application password, or must allow SMTP for the account first.`},
		{AuthRequired, `The mail server {server} takes mail only after a log-in. Enter a user name and a password.`},
	}
}

func mailAdvices() []Advice {
	return []Advice{
		{SenderRefused,
			`The mail server {server} does not accept the sender's address. Enter an address as sender that this ` +
				`server, or this user, may send from.`},
		{SenderUnproven,
			`The mail server {server} does not believe that this mail is from the sender's domain (SPF, DKIM or ` +
				`DMARC). Allow the server that sends for you in the DNS of the sender's domain, or enter a sender of ` +
				`another domain.`},
		{RecipientRefused,
			`The mail server {server} does not accept the recipient's address. Is it spelled right, and does the ` +
				`mailbox exist?`},
		{MailboxFull,
			`The mail server {server} says that the recipient's mailbox is full. The recipient must delete mails ` +
				`there, or needs more space.`},
		{RelayDenied,
			`The mail server {server} does not pass on mail from this host. Let it relay for this host's ` +
				`address, or enter a user name and a password that it knows.`},
		{Blocked,
			`The mail server {server} blocks this host's address, or its network, for its reputation (block ` +
				`list). Its reply names the list: {reply}. Have the address removed there, or send by the mail ` +
				`server of your provider.`},
		{ReverseDNS,
			`The mail server {server} finds no name for this host's address (reverse DNS). Have a PTR record set ` +
				`for it that leads to a name whose address it is.`},
		{Greylisted,
			`The mail server {server} put the mail off because it does not know this sender yet (greylisting). ` +
				`Such a mail is often taken after some minutes, which is too late for a code: exempt this host from ` +
				`greylisting there.`},
		{RateLimited,
			`The mail server {server} has had too many mails, connections or log-ins from here or for this ` +
				`account: {reply}. Wait, raise the limit there, or send fewer at once (otpost worker -w).`},
		{Throttled,
			`The mail server {server} cannot take the mail at the moment: it is busy, short of space, or has a ` +
				`fault of its own. Try again later; its log should say why.`},
		{TooLarge,
			`The mail is too large for the mail server {server}. Raise the size limit there, or shorten the text ` +
				`of the mail.`},
		{MessageRefused,
			`The mail server {server} refused the mail for its content or by a rule of its own, such as a spam ` +
				`filter. Look for the reply in that server's log, and exempt this host there.`},
		{Deferred,
			`The mail server {server} did not take the mail for now. Its reply: {reply}. Its log should say more.`},
		{Rejected, `The mail server {server} refused the mail. Its reply: {reply}. Its log should say more.`},
		{SMIME,
			`The mail could not be signed (S/MIME): it was not sent, or went unsigned where this SMTP server ` +
				`allows that. Check key, key password and certificate of this SMTP server.`},
	}
}

func endAdvices() []Advice {
	return []Advice{
		{NoReply,
			`The mail server {server} took the mail and closed without a reply; it may have arrived. Its log ` +
				`should say whether the mail was delivered.`},
		{NoReplyInTime,
			`The mail server {server} took the mail and did not reply in time; it may have arrived. If the ` +
				`server is only slow, such as one that scans for viruses, raise the timeout.`},
		{TooLate,
			`The mail's time was over before the mail server {server} could be given it. Does a worker run? ` +
				`otpost queue status shows it; start one with: otpost worker.`},
		{NoWorker,
			`No worker runs, so the mail was withdrawn and not given to the mail server {server}. Start one ` +
				`with: otpost worker. otpost queue status shows the workers.`},
		{SealedPassword,
			`The stored password of the SMTP server {server} does not open: it was saved with another key file. ` +
				`Type the password again and save the server, or put its key file (PI_ENCFILE) back.`},
		{SealedMail,
			`The text of the mail for the SMTP server {server} does not open: it was stored with another key ` +
				`file. Put the key file (PI_ENCFILE) back; without it the user starts a new login.`},
		{NoServer,
			`The SMTP server {server} is not defined. Define it again, or choose another one in email.identifier.`},
		{Internal, `otpost itself could not give the mail to the mail server {server}. Its log says more.`},
	}
}

// Sentence returns what is wrong and what to do; empty for an empty or unknown diagnosis. server is
// the text for the mail server, such as "at mail.example.org:25"; reply is its reply, as Words
// returns it.
func (d Diagnosis) Sentence(server, reply string) string {
	for _, a := range Advices() {
		if a.Diagnosis == d {
			return strings.NewReplacer("{server}", server, "{reply}", reply).Replace(a.Sentence)
		}
	}
	return ""
}

// Words returns a reply for a sentence: code, enhanced code and text, without the dot at its end. text is scrubbed.
func Words(code int, enhanced, text string) string {
	return strings.TrimRight(strings.Join(strings.Fields(strconv.Itoa(code)+" "+enhanced+" "+text), " "), " .")
}

// Sentence returns the sentence of a diagnosis for this mail server, with its address.
func (s Server) Sentence(d Diagnosis, reply string) string {
	e, err := s.Endpoint()
	if err != nil {
		return d.Sentence(`"`+s.Identifier+`"`, reply)
	}
	return d.Sentence("at "+e.Address(), reply)
}
