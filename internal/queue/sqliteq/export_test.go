package sqliteq

// StatusQueries are the queries of Status, for the test of their plans.
func StatusQueries() []string { return []string{countQuery, restQuery} }
