package sqliteq

// StatusQueries are the queries of Status, for the test of their plans.
func StatusQueries() []string { return []string{countQuery, restQuery} }

// HotQueries are the statements of claims, waits and lists, for the test of their plans.
func HotQueries() map[string]string {
	return map[string]string{
		"lease what is not stale": leaseNotStale,
		"lease of a priority":     leaseOfPriority,
		"lease any":               leaseAny,
		"promote":                 promoteQuery,
		"ready":                   readyQuery,
		"due":                     dueQuery,
		"list one":                listOneQuery,
		"orphans":                 `SELECT 1 FROM job WHERE ` + orphan,
		"list ready":              listQueries[0],
		"list leased":             listQueries[1],
		"list scheduled":          listQueries[2],
		"list dead":               listQueries[3],
		"known":                   `SELECT 1 FROM job WHERE id = $4 AND ` + knows,
	}
}
