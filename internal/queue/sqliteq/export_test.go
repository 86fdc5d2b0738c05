package sqliteq

// StatusQueries are the queries of Status, for the test of their plans.
func StatusQueries() []string { return []string{countQuery, restQuery} }

// HotQueries are the statements of claims and waits, and those that look for one job, for the test of their plans.
func HotQueries() map[string]string {
	return map[string]string{
		"lease what is not stale": leaseNotStale, "lease of a priority": leaseOfPriority, "lease any": leaseAny, "promote": promoteQuery,
		"ready": readyQuery, "due": dueQuery, "list one": listOneQuery, "orphans": `SELECT 1 FROM job WHERE ` + orphan,
		"known": `SELECT 1 FROM job WHERE id = $4 AND ` + knows,
	}
}
