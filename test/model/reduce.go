package model

// reduce removes from a state what no later step can see (fields that are not read again, absolute numbers of
// workers, epochs and tokens), so that states of equal behaviour are one.
func (m *model) reduce(s *State) {
	for d := range s.rows {
		r := &s.rows[d]
		r.due = r.due && r.state == deferred
		r.until = r.until && r.state == sending
		if r.state != sending {
			r.owner = 0
		}
		if final(r.state) {
			*r = row{state: r.state, epoch: r.epoch}
		}
	}
	for _, q := range []*store{&s.queue, &s.kept} {
		for d := range q.jobs {
			if m.poison == never {
				q.jobs[d].crashes = 0
			}
			if q.jobs[d].state == absent {
				q.jobs[d] = job{}
			}
		}
	}
	for i := range s.handlers {
		h := &s.handlers[i]
		if h.phase > claimed {
			h.verdict, h.swept = 0, 0
		}
		if h.phase == ended {
			h.epoch, h.reply = 0, 0
		}
	}
	powered := !m.redis && s.left.power > 0
	if !powered && s.left.loss == 0 {
		s.kept = store{}
	}
	if !powered {
		s.synced = [most]row{}
		m.reduceEpochs(s)
		m.reduceTokens(s)
	}
	reduceWorkers(s)
}

// other stands for every number that is not the present one.
const other = 7

// reduceEpochs keeps of an epoch only whether it is the row's.
func (m *model) reduceEpochs(s *State) {
	for i := range s.handlers {
		h := &s.handlers[i]
		if h.phase < atMail || h.phase == ended {
			continue
		}
		if h.epoch == s.rows[h.message].epoch {
			h.epoch = 0
		} else {
			h.epoch = other
		}
	}
	for d := range s.rows {
		s.rows[d].epoch = 0
	}
}

// reduceTokens keeps of a token only whether it is the job's. A store that may lose its last second may bring an
// earlier token back, so that tokens stay there.
func (m *model) reduceTokens(s *State) {
	if m.oneProcess && !m.rules.Fence || s.left.loss > 0 {
		return
	}
	for i := range s.handlers {
		if s.handlers[i].phase == idle {
			continue
		}
		if holdsClaim(s, i) {
			s.handlers[i].token = 0
		} else {
			s.handlers[i].token = other
		}
	}
	for d := range s.queue.jobs {
		s.queue.jobs[d].token = 0
	}
}

// reduceWorkers numbers the workers anew, in the order in which the state names them.
func reduceWorkers(s *State) {
	var names [32]uint8
	next := uint8(1)
	rename := func(id *uint8) {
		if *id == 0 {
			return
		}
		if names[*id] == 0 {
			names[*id] = next
			next++
		}
		*id = names[*id]
	}
	for k := range s.workers {
		rename(&s.workers[k].id)
	}
	for i := range s.handlers {
		rename(&s.handlers[i].worker)
		rename(&s.handlers[i].swept)
	}
	for d := range s.rows {
		rename(&s.rows[d].owner)
		rename(&s.synced[d].owner)
	}
	for _, q := range []*store{&s.queue, &s.kept} {
		for d := range q.jobs {
			rename(&q.jobs[d].owner)
			rename(&q.jobs[d].swept)
		}
	}
	for _, q := range []*store{&s.queue, &s.kept} {
		lease := uint16(0)
		for id := range 16 {
			if q.lease&(1<<id) != 0 && names[id] != 0 {
				lease |= 1 << names[id]
			}
		}
		q.lease = lease
	}
	s.nextID = max(next, 3)
}
