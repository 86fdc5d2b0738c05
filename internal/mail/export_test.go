package mail

// ReplyDiagnoses returns the diagnosis of each row of the table of replies.
func ReplyDiagnoses() []Diagnosis {
	var all []Diagnosis
	for _, row := range replyTable() {
		all = append(all, row.is)
	}
	return all
}
