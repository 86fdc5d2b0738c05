package model

import "hash/maphash"

// kind says what a step is, as bits.
type kind uint8

const (
	tick  kind = 1 << iota // a message's end passes
	claim                  // a worker claims a job
	work                   // a handler does something
	fault                  // a fault, or something that need not happen: no progress may depend on it
)

// step is one transition of a model.
type step[S comparable] struct {
	to     S
	label  string // empty unless the model was asked to name its steps
	kind   kind
	broken string // the invariant that the step breaks, or empty
}

// successors returns the steps from a state. The slice is valid until the next call. Labels are costly, so they
// are made only for naming.
type successors[S comparable] func(s *S, naming bool) []step[S]

// graph is what a breadth-first search has found. States are numbered in the order of their distance from the
// first, so that each trace is a shortest one.
type graph[S comparable] struct {
	next   successors[S]
	states []S
	parent []int32
	whole  bool                // the search ended before its limit
	broken map[string][]string // the first trace to each broken property
	steps  int
	first  []int32 // of each state the index of its first edge
	edges  []int32 // without faults: number of the state << edgeBits | kind
	rfirst []int32 // the same edges backwards
	redges []int32
}

const edgeBits = 3

// explore searches all states that can be reached from start, up to limit.
func explore[S comparable](start S, next successors[S], limit int) *graph[S] {
	g := &graph[S]{next: next, states: []S{start}, parent: []int32{-1}, whole: true, broken: map[string][]string{}}
	index := newIndex[S]()
	index.put(g.states, 0)
	for k := 0; k < len(g.states); k++ {
		g.first = append(g.first, int32(len(g.edges)))
		from := g.states[k]
		var broken map[string]S
		for _, e := range next(&from, false) {
			g.steps++
			if e.broken != "" {
				if broken == nil {
					broken = map[string]S{}
				}
				broken[e.broken] = e.to
			}
			to, known := index.get(g.states, e.to)
			if !known {
				if len(g.states) >= limit {
					g.whole = false
					continue
				}
				to = int32(len(g.states))
				g.states, g.parent = append(g.states, e.to), append(g.parent, int32(k))
				index.put(g.states, to)
			}
			if e.kind&fault == 0 {
				g.edges = append(g.edges, to<<edgeBits|int32(e.kind))
			}
		}
		for property, to := range broken {
			g.report(property, func() []string { return append(g.trace(int32(k)), g.label(&from, to)) })
		}
	}
	g.first = append(g.first, int32(len(g.edges)))
	return g
}

// report keeps the first trace to each broken property.
func (g *graph[S]) report(property string, trace func() []string) {
	if _, known := g.broken[property]; !known {
		g.broken[property] = trace()
	}
}

// trace returns the labels of the steps from the first state to state k.
func (g *graph[S]) trace(k int32) []string {
	if g.parent[k] < 0 {
		return nil
	}
	from := g.states[g.parent[k]]
	return append(g.trace(g.parent[k]), g.label(&from, g.states[k]))
}

func (g *graph[S]) label(from *S, to S) string {
	for _, e := range g.next(from, true) {
		if e.to == to {
			return e.label
		}
	}
	return "?"
}

// backwards builds the reverse of the edges.
func (g *graph[S]) backwards() {
	if g.rfirst != nil {
		return
	}
	n := len(g.states)
	g.rfirst = make([]int32, n+1)
	for _, e := range g.edges {
		g.rfirst[e>>edgeBits+1]++
	}
	for i := range n {
		g.rfirst[i+1] += g.rfirst[i]
	}
	g.redges = make([]int32, len(g.edges))
	at := append([]int32(nil), g.rfirst[:n]...)
	for k := range n {
		for _, e := range g.edges[g.first[k]:g.first[k+1]] {
			to := e >> edgeBits
			g.redges[at[to]] = int32(k)<<edgeBits | e&(1<<edgeBits-1)
			at[to]++
		}
	}
}

// reaching returns for each state whether a goal can be reached from it without faults and without steps of the kinds.
func (g *graph[S]) reaching(goal func(*S) bool, without kind) []bool {
	g.backwards()
	reached := make([]bool, len(g.states))
	var open []int32
	for k := range g.states {
		if goal(&g.states[k]) {
			reached[k] = true
			open = append(open, int32(k))
		}
	}
	for len(open) > 0 {
		k := open[len(open)-1]
		open = open[:len(open)-1]
		for _, e := range g.redges[g.rfirst[k]:g.rfirst[k+1]] {
			if from := e >> edgeBits; kind(e)&without&(1<<edgeBits-1) == 0 && !reached[from] {
				reached[from] = true
				open = append(open, from)
			}
		}
	}
	return reached
}

// stuck reports whether every step from state k is a fault or of one of the kinds.
func (g *graph[S]) stuck(k int, kinds kind) bool {
	for _, e := range g.edges[g.first[k]:g.first[k+1]] {
		if kind(e)&kinds&(1<<edgeBits-1) == 0 {
			return false
		}
	}
	return true
}

// circle returns the trace to a circle of steps of handlers alone, and once around it; nil if there is none.
func (g *graph[S]) circle() []string {
	g.backwards()
	n := len(g.states)
	into := make([]int32, n)
	for _, e := range g.edges {
		if kind(e)&work != 0 {
			into[e>>edgeBits]++
		}
	}
	var open []int32
	for k := range n {
		if into[k] == 0 {
			open = append(open, int32(k))
		}
	}
	left := n
	for ; len(open) > 0; left-- {
		k := open[len(open)-1]
		open = open[:len(open)-1]
		for _, e := range g.edges[g.first[k]:g.first[k+1]] {
			to := e >> edgeBits
			if kind(e)&work == 0 {
				continue
			}
			if into[to]--; into[to] == 0 {
				open = append(open, to)
			}
		}
	}
	if left == 0 {
		return nil
	}
	return g.around(into)
}

// around walks back from a state that has a predecessor in the remaining states until it meets a state twice.
func (g *graph[S]) around(into []int32) []string {
	k := int32(0)
	for into[k] <= 0 {
		k++
	}
	path, seen := []int32{k}, map[int32]int{k: 0}
	for {
		for _, e := range g.redges[g.rfirst[k]:g.rfirst[k+1]] {
			if from := e >> edgeBits; kind(e)&work != 0 && into[from] > 0 {
				k = from
				break
			}
		}
		if at, met := seen[k]; met {
			trace := append(g.trace(k), "-- the circle --")
			for i := len(path) - 1; i >= at; i-- {
				from := g.states[k]
				k = path[i]
				trace = append(trace, g.label(&from, g.states[k]))
			}
			return trace
		}
		seen[k] = len(path)
		path = append(path, k)
	}
}

// index finds the number of a state by its hash. It holds no states, which halves the memory of a map of states.
type index[S comparable] struct {
	seed   maphash.Seed
	number map[uint64]int32
}

func newIndex[S comparable]() *index[S] {
	return &index[S]{seed: maphash.MakeSeed(), number: make(map[uint64]int32)}
}

func (x *index[S]) get(states []S, s S) (int32, bool) {
	for h := maphash.Comparable(x.seed, s); ; h++ {
		k, known := x.number[h]
		if !known || states[k] == s {
			return k, known
		}
	}
}

func (x *index[S]) put(states []S, k int32) {
	h := maphash.Comparable(x.seed, states[k])
	for {
		if _, taken := x.number[h]; !taken {
			x.number[h] = k
			return
		}
		h++
	}
}
