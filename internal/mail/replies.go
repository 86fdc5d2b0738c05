package mail

import (
	"slices"
	"strconv"
	"strings"

	"otpost/internal/smtp"
)

// diagnoseReply returns the diagnosis of a 4xx or 5xx: the first matching row of the table counts.
// testdata/replies.txt has replies of real servers with their diagnoses.
func diagnoseReply(phase smtp.Phase, r smtp.Reply) Diagnosis {
	mentions := r.Mentions()
	for _, row := range replyTable() {
		if row.fits(phase, r, mentions) {
			return row.is
		}
	}
	return Internal // not reached: the table ends with a row for each class
}

// replyRow is a row of the table. An empty field matches every reply.
type replyRow struct {
	phases string // separated by spaces
	code   string // the first digits
	// the enhanced code without its class, such as 7.1; with a dot at the end a prefix; separated
	// by spaces
	enhanced string
	phrases  string // one of these in the text (smtp.Reply.Mentions), separated by |
	is       Diagnosis
}

func (row replyRow) fits(phase smtp.Phase, r smtp.Reply, mentions func(...string) bool) bool {
	return (row.phases == "" || contains(row.phases, string(phase))) &&
		strings.HasPrefix(strconv.Itoa(r.Code), row.code) &&
		(row.enhanced == "" || fitsEnhanced(row.enhanced, r.Enhanced)) &&
		(row.phrases == "" || mentions(strings.Split(row.phrases, "|")...))
}

func contains(words, word string) bool { return strings.Contains(" "+words+" ", " "+word+" ") }

func fitsEnhanced(patterns, enhanced string) bool {
	_, detail, found := strings.Cut(enhanced, ".")
	if !found {
		return false
	}
	for pattern := range strings.FieldsSeq(patterns) {
		if detail == pattern || strings.HasSuffix(pattern, ".") && strings.HasPrefix(detail, pattern) {
			return true
		}
	}
	return false
}

// replyTable reads replies by RFC 5321 section 4.2, RFC 4954 section 6, RFC 3207 section 4, RFC
// 3463 and the registry of enhanced codes, and otherwise by the words of Postfix, Exim, Sendmail,
// Exchange and large providers. The most certain rows come first: words before codes, codes before
// phases. A reply that matches no other row is Deferred or Rejected, because no cause is better
// than a wrong one.
func replyTable() []replyRow {
	return slices.Concat(sessionReplies(), permissionReplies(), addressReplies(), classReplies())
}

// sessionReplies are about the connection and the log-in.
func sessionReplies() []replyRow {
	return []replyRow{
		{"", "503", "", "need auth|need ehlo and auth|auth first|authenticate first", AuthRequired},
		{"", "503", "", "send helo|send ehlo|helo first|ehlo first|polite", Rejected},
		{"", "5", "", "too many hops|mail loop|loops back", Rejected},

		// The connection.
		{"", "538", "", "", AuthUnencrypted},
		{"", "530", "", "starttls|tls|ssl|encrypt", TLSRequired},
		{"", "5", "7.10", "", TLSRequired},
		{"", "", "", "must issue a starttls|issue starttls|starttls first|starttls is required|starttls required|" +
			"tls required|tls is required|requires tls|encryption required|encryption is required|encryption needed|" +
			"ssl required|requires ssl|session encryption is required", TLSRequired},
		{"tls", "", "", "", STARTTLSRefused},

		// The log-in.
		{"auth", "", "", "application specific password|app specific|app password|application password|" +
			"authorization code|authorisation code|授权码", AppPassword},
		{"auth", "", "", "too many|rate limit|ratelimit", RateLimited},
		{"auth", "50", "", "", AuthRefused},
		{"auth", "5", "", "disabled|is locked|account locked|suspended|not enabled|via your web browser|" +
			"service is not open|no permission|not allowed to use smtp|smtp access|smtp auth is not", AuthDisabled},
		{"auth", "4", "", "", AuthDeferred},
		{"auth", "534", "", "", AuthRefused},
		{"auth", "530", "", "", AuthRefused},
		{"auth", "5", "", "", AuthFailed},
	}
}

// permissionReplies are about whether this host may send at all, and how much.
func permissionReplies() []replyRow {
	return []replyRow{
		{"", "4", "", "greylist|graylist|grey list|gray list|postgrey|milter greylist", Greylisted},
		{"", "", "7.20 7.21 7.22 7.23 7.24 7.26 7.27 7.29 7.30", "", SenderUnproven},
		{"", "", "", "spf|dkim|dmarc|sender policy framework|openspf|unauthenticated email", SenderUnproven},
		{"", "", "", "helo|ehlo|need fully qualified hostname", HelloRefused},
		{"ehlo", "501", "", "", HelloRefused},
		{"ehlo", "504", "", "", HelloRefused},
		{"", "", "7.25", "", ReverseDNS},
		{"", "", "", "reverse dns|rdns|ptr|reverse hostname|reverse lookup|find your hostname|reverse " +
			"name|reverse host",
			ReverseDNS},
		{"", "", "", "spam content|virus|malware|phish", MessageRefused},
		{"", "", "", "blacklist|blocklist|block list|black list|blackhole|spamhaus|spamcop|barracuda|uceprotect|rbl|" +
			"dnsbl|reputation|is listed|listed at|listed by|banned|blocked using|blocked by|ip blocked|ip " +
			"address blocked|" +
			"ip is blocked|ip has been blocked|has been blocked|from this ip|from your ip|originating from your|" +
			"user complaints|not accepted from", Blocked},
		{"", "", "3.4 2.3", "", TooLarge},
		{"", "5", "", "too large|too big|message size|size limit|size exceed|exceeds fixed|exceeds size|exceeds " +
			"maximum|maximum size|maximum message size", TooLarge},
		{"", "", "7.28 4.5", "", RateLimited},
		{"", "", "", "too many|rate limit|ratelimit|sending limit|sending quota|send quota|daily|hourly|per hour|" +
			"per minute|per day|throttl|too fast|too quickly|at a rate|concurrent|limit exceeded|exceeded the rate|" +
			"maximum sending|slow down", RateLimited},
		{"ehlo", "550", "", "", HelloRefused},
		{"", "", "", "client host rejected|no smtp service|not allowed to connect|not authorized to connect|" +
			"connection rejected|connection refused|host not allowed|you are not allowed|host is not allowed",
			HostRefused},
		{"connect greeting ehlo", "5", "", "", HostRefused},
	}
}

// addressReplies are about sender and recipient.
func addressReplies() []replyRow {
	return []replyRow{
		{"", "530", "", "", AuthRequired},
		{"", "5", "7.57", "", AuthRequired},
		{"", "", "", "relay|rcpthosts|not local", RelayDenied},
		{"", "5", "", "authentication required|authentication is required|requires authentication|must authenticate|" +
			"must be authenticated|not authenticated|authenticate first|auth first|smtp auth|login " +
			"first|log in first|" +
			"authorization required|need auth|needs auth", AuthRequired},
		{"", "", "1.7 1.8 7.60 2.252", "", SenderRefused},
		{"", "", "", "sendasdenied|send as|send on behalf|sender address|sender rejected|sender denied|sender is not|" +
			"sender not|sender domain|invalid sender|bad sender|sender verif|from address|mail from " +
			"must|mail from address|" +
			"not owned by|not verified|verified sender|unverified sender|sender email|authorized sender",
			SenderRefused},
		{"mail", "5", "1.", "", SenderRefused},
		{"mail", "553", "", "", SenderRefused},
		{"", "", "2.2", "", MailboxFull},
		{"", "", "", "over quota|overquota|quota exceed|exceeded quota|exceeds quota|exceeded his quota|mailbox full|" +
			"mailbox is full|inbox is full|inbox full|mailbox quota|out of storage|exceeded " +
			"storage|exceeded its storage|" +
			"user quota", MailboxFull},
		{"rcpt", "552", "", "", MailboxFull},
		{"", "552", "", "", TooLarge},
		{"rcpt data reply", "5", "1.0 1.1 1.2 1.3 1.4 1.6 1.10 2.1", "", RecipientRefused},
		{"rcpt data reply", "", "", "user unknown|unknown user|no such user|no such recipient|no such person|" +
			"no such mailbox|no such address|recipient address rejected|recipient rejected|recipient not found|" +
			"recipientnotfound|recipient unknown|unknown recipient|invalid recipient|no valid recipients|" +
			"mailbox unavailable|mailbox not found|mailbox does not exist|no mailbox|invalid mailbox|user not found|" +
			"user does not exist|account that you tried|account does not exist|address does not exist|" +
			"email address not found|unrouteable|unroutable|address rejected|address unknown|unknown address|" +
			"not a valid mailbox|user doesn t exist|no mail hosts", RecipientRefused},
	}
}

// classReplies are for the remaining replies: temporary ones, then permanent ones.
func classReplies() []replyRow {
	return []replyRow{
		// For now.
		{"rcpt data reply", "45", "7.1 2.0", "again|later|come back|retry|minutes|seconds|delayed|postponed",
			Greylisted},
		{"", "421", "", "", Throttled},
		{"", "4", "3.", "", Throttled},
		{"", "4", "", "busy|overload|insufficient|no space|disk|resources|local error|local problem|internal error|" +
			"lookup failure|unavailable|not available|shutting down|try again later|temporary failure", Throttled},
		{"", "4", "", "", Deferred},

		// For good.
		{"data reply", "5", "", "spam|content|junk|unsolicited|bulk|policy reasons|banned", MessageRefused},
		{"", "5", "", "", Rejected},
	}
}
