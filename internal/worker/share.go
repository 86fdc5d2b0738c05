package worker

import "slices"

// laneWeight sets the share of a lane: a lane may get a handler while it has fewer than laneWeight
// times the free handlers. So one slow server gets at most 3/4 of the handlers, two get 3/7 each,
// and so on (dynamic thresholds, as switches share a buffer).
const laneWeight = 3

// reserve is the number of handlers that only lanes without a handler may get, so that many slow
// servers leave handlers for further lanes.
func (r *run) reserve() int { return max(1, r.handlers/8) }

// room returns how many further handlers a lane with busy handlers may get, if no other lane gets
// one.
func (r *run) room(busy int) int {
	n := 0
	for free := r.handlers - r.busy; free > 0 && busy < laneWeight*free && (busy == 0 || free > r.reserve()); free-- {
		busy++
		n++
	}
	return n
}

// shares returns the lanes that get no handler now, and how many jobs a claim may bring without
// exceeding the share of any lane.
func (r *run) shares() (full []string, most int) {
	most = min(r.free(), r.room(0))
	for lane, busy := range r.lanes {
		if n := r.room(busy); n > 0 {
			most = min(most, n)
		} else {
			full = append(full, lane)
		}
	}
	slices.Sort(full)
	return full, most
}

// enter and leave count the handlers of a lane.
func (r *run) enter(lane string) {
	r.busy++
	r.lanes[lane]++
}

func (r *run) leave(lane string) {
	r.busy--
	if r.lanes[lane]--; r.lanes[lane] == 0 {
		delete(r.lanes, lane)
	}
}
