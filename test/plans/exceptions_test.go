package plans

import "regexp"

// exception is a plan that grows with a table, and why that is right. The entries with the same reason stand together.
type exception struct {
	text   *regexp.Regexp // of the statement, with single spaces
	plan   string         // begins the line
	reason string
}

func except(text, plan, reason string) exception {
	return exception{text: regexp.MustCompile(text), plan: plan, reason: reason}
}

// The reasons that several entries share.
const (
	openAlone   = "a partial index that holds only the messages without a final state"
	leasedAlone = "a partial index that holds only the jobs in hand, at most as many as there are handlers"
	fewOfOne    = "sorts only the rows of one token or transaction, which housekeeping deletes after 10 " +
		"minutes or 30 days"
	byHand = "a list of tokens, which administrators make; a text is compared without regard to case, as in " +
		"privacyIDEA"
	operators = "an operator's command, in a process of its own"
)

var exceptions = []exception{
	except(`^DELETE FROM auth_failure .* WHERE known = 0 ORDER BY not_before_ms LIMIT`,
		"SCAN auth_failure USING INDEX auth_failure_unknown",
		"walks the index from its begin, as far as the LIMIT"),
	except(`^SELECT \(SELECT count\(\*\) FROM auth_failure\)`, "SCAN auth_failure USING COVERING INDEX",
		"counts the entries of an index of a bounded table (docs/limits.md)"),

	except(`^DELETE FROM (audit|challenge) WHERE id IN \(SELECT id FROM \( ?SELECT id, `, "SCAN ",
		"walks the table from its begin, as far as the LIMIT"),

	except(`FROM delivery WHERE .*state IN \('queued', 'deferred', 'sending'\)`,
		"SCAN delivery USING INDEX delivery_end", openAlone),
	except(`^UPDATE delivery .*state IN \('queued', 'deferred', 'sending'\)`, "SCAN delivery USING INDEX delivery_open",
		openAlone),
	except(`FROM delivery WHERE state IN \('queued', 'deferred', 'sending'\) GROUP BY state`,
		"USE TEMP B-TREE FOR GROUP BY",
		"a group for each state"),
	except(`FROM delivery WHERE state IN \('queued', 'deferred', 'sending'\) ORDER BY created_ms, id LIMIT`,
		"USE TEMP B-TREE FOR ORDER BY", operators),

	except(`^SELECT id, channel, .* FROM delivery WHERE id IN \(SELECT id FROM`, "SCAN delivery USING COVERING INDEX",
		"the list, the newest first: walks an index that holds what can be filtered, as far as the LIMIT; "+
			"docs/limits.md has the limit of a read"),
	except(`FROM delivery WHERE updated_ms >= \$1 AND state IN \('failed', 'expired', 'unknown'\)`,
		"SCAN delivery USING COVERING INDEX delivery_outcome",
		operators),
	except(`FROM delivery WHERE updated_ms >= \$1 AND state IN \('failed', 'expired', 'unknown'\)`,
		"USE TEMP B-TREE FOR ORDER BY",
		"a row for each reason"),
	except(`FROM waiter w JOIN delivery d .* WHERE w.transaction_id = \$1`, "USE TEMP B-TREE FOR ORDER BY", fewOfOne),

	except(`FROM challenge WHERE (serial|transaction_id) = \$1 ORDER BY created_ms`,
		"USE TEMP B-TREE FOR ORDER BY", fewOfOne),
	except(`^UPDATE challenge .* WHERE state = 0 AND serial = \$3`, "USE TEMP B-TREE FOR ORDER BY", fewOfOne),
	except(`FROM challenge WHERE state = 0 AND valid_until_ms > \$1 .*LIMIT`, "USE TEMP B-TREE",
		"sorts only the open challenges, for a page of an administrator"),
	except(`FROM challenge WHERE state = 0 AND valid_until_ms > \$1 .*LIMIT`,
		"SCAN challenge USING INDEX challenge_serial",
		"walks an index in the order of the page, as far as the LIMIT"),

	except(`^SELECT (count\(\*\)|serial, .*) FROM token WHERE 1 = 1`, "SCAN token", byHand),
	except(`^SELECT serial, .* FROM token WHERE 1 = 1`, "USE TEMP B-TREE FOR ORDER BY", byHand),

	except(`FROM token WHERE resolver = \$1 AND user_id = \$2`, "USE TEMP B-TREE FOR ORDER BY",
		"sorts the tokens of one user"),

	except(`\bjob\b.* WHERE (queue = \$1 AND )?state = 1`, "SCAN job USING INDEX job_leased", leasedAlone),
	except(`^UPDATE job SET state = 1`, "USE TEMP B-TREE FOR ORDER BY",
		"sorts at most as many jobs of each lane as are claimed"),
	except(`SELECT id, CAST\(kind AS TEXT\), .* FROM job WHERE .* ORDER BY run_at_ms, id LIMIT \$2`,
		"USE TEMP B-TREE FOR",
		"an operator's list: sorts at most as many jobs of each lane as it shows, those in hand, or the dead ones "+
			"(docs/limits.md)"),
}
