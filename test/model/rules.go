package model

// Rules are the rules of the protocol that can be switched off.
type Rules struct {
	Fence        bool // each write is a compare-and-set on the row's epoch
	TakeOver     bool // a row in `sending` is taken only from an owner that was swept, or after own_until
	Relay        bool // the relay covers every overdue row that is not final
	FinalSQL     bool // the relay ends what is over, whatever the queue knows
	Verdict      bool // the verdicts "too late" and "poisoned" are leased until the row is written
	DotCheck     bool // the clock is read once more at the write of the dot
	Unsure       bool // after a dot without reply only accepted or unknown follow
	DotDurable   bool // the commit of a dot is synced
	FinalDurable bool // the commit of a final state is synced
	Reconcile    bool // a worker states what it holds; the rest under its name goes back
	OwnLease     bool // no dot under a lapsed lease, or for an embedded job that is no longer its own
	Differences  bool // times travel between two clocks as differences
	Parting      bool // giving a lock up is no death
	OwnWorker    bool // a process does not sweep its own living worker
	Gap          bool // a gap of all sweeps leaves lapsed leases alone for one lease
	FarLease     bool // a lease further ahead than a lease can be counts as free
	Bound        bool // a message gets a bounded number of dots without a reply
	EndJob       bool // the transaction that ends a row ends its embedded job
}

func allRules() Rules {
	return Rules{true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, true,
		true, true}
}

// never is a number of crashes that no job reaches.
const never = 9

// configs are the questions, each with budgets for minutes of search. The tests cut them by small.
func configs() []Config {
	redis := func(name string, left Budget) Config {
		return Config{name: "redis: " + name, redis: true, retryUnsure: true, poison: never, messages: 1, left: left}
	}
	embedded := func(name string, left Budget) Config {
		return Config{name: "embedded: " + name, retryUnsure: true, poison: never, messages: 1, left: left}
	}
	with := func(c Config, change func(*Config)) Config { change(&c); return c }
	all := []Config{
		redis("kills and 4xx", Budget{kill: 3, temporary: 1, noReply: 1, ambiguous: 1, total: 3}),
		redis("loss", Budget{loss: 2, temporary: 1, kill: 1, total: 2}),
		with(redis("loss, one process", Budget{loss: 2, temporary: 1, kill: 1, total: 2}),
			func(c *Config) { c.oneProcess = true }),
		with(redis("unsure is not retried", Budget{loss: 1, temporary: 1, kill: 2, noReply: 1, total: 3}),
			func(c *Config) { c.retryUnsure = false }),
		redis("pauses", Budget{pause: 2, kill: 1, temporary: 1, total: 2}),
		redis("shared, answered, cancelled", Budget{kill: 1, temporary: 1, coalesce: 1, answer: 2, cancel: 1, total: 1}),
		redis("shared, loss, 5xx", Budget{loss: 1, noReply: 1, permanent: 1, temporary: 1, coalesce: 1, total: 2}),
		with(redis("sent in the request", Budget{ambiguous: 1, kill: 1, temporary: 1, total: 2}),
			func(c *Config) { c.inline = true }),
		with(redis("poison", Budget{kill: 2, temporary: 1, total: 2}), func(c *Config) { c.poison = 1 }),
		redis("graceful stops", Budget{graceful: 2, kill: 1, temporary: 1, total: 1}),
		redis("answers to claims lost", Budget{claimLost: 2, kill: 1, temporary: 1, total: 2}),
		with(redis("its clock is ahead", Budget{kill: 1, temporary: 2, total: 1}), func(c *Config) { c.skew = 1 }),
		with(redis("its clock is behind", Budget{kill: 1, temporary: 2, total: 1}), func(c *Config) { c.skew = -1 }),
		redis("silent for a lease", Budget{silence: 2, kill: 1, temporary: 1, noReply: 1, total: 3}),
		redis("clock set back", Budget{back: 1, kill: 1, ambiguous: 1, temporary: 1, total: 3}),
		with(redis("two messages", Budget{loss: 1, kill: 1, total: 1}), func(c *Config) { c.messages = 2 }),
		embedded("kills and 4xx", Budget{kill: 3, temporary: 1, noReply: 1, total: 3}),
		embedded("no replies", Budget{kill: 2, noReply: 3, temporary: 1, total: 3}),
		embedded("pauses", Budget{pause: 2, kill: 1, temporary: 1, total: 2}),
		embedded("power cuts", Budget{power: 2, temporary: 1, answer: 1, total: 2}),
		with(embedded("power cuts, unsure is not retried", Budget{power: 1, kill: 1, temporary: 1, total: 2}),
			func(c *Config) { c.retryUnsure = false }),
		embedded("shared, answered, cancelled",
			Budget{kill: 1, temporary: 1, permanent: 1, coalesce: 1, answer: 2, cancel: 1, total: 1}),
		with(embedded("poison", Budget{kill: 2, temporary: 1, total: 2}), func(c *Config) { c.poison = 1 }),
		embedded("clock steps forward", Budget{silence: 2, kill: 1, temporary: 1, noReply: 1, total: 3}),
		with(embedded("beats stall, one process", Budget{stall: 1, kill: 1, temporary: 1, total: 2}),
			func(c *Config) { c.oneProcess = true }),
		embedded("clock set back", Budget{back: 1, kill: 1, temporary: 1, total: 2}),
		with(embedded("two messages", Budget{kill: 1, total: 1}), func(c *Config) { c.messages = 2 }),
	}
	for i := range all {
		all[i].rules = allRules()
	}
	return all
}

// small cuts the budgets to one fault of a kind and two in all, which is enough for every counterexample that was
// found.
func small(c Config) Config {
	b := &c.left
	kills := b.kill
	cut := []*uint8{&b.kill, &b.pause, &b.loss, &b.power, &b.claimLost, &b.graceful, &b.silence, &b.temporary, &b.answer}
	for _, p := range cut {
		*p = min(*p, 1)
	}
	if c.poison != never {
		b.kill = kills
	}
	b.total = min(b.total, 2)
	return c
}
