package pinhash

import "context"

// Turn is the right to compute, for one peer and one goroutine. Begin it before the guess is paid for, so that whoever finds no
// slot has lost nothing; end it with whether the peer was right.
type Turn struct {
	v       *Verifier
	peer    string
	release func(right bool) // nil: no slot
}

// Begin takes a slot unless all of the hashes that will be matched are Known; for as long as the hashes are remembered nobody waits. It fails with
// ErrBusy or the context's error. Should a computation be needed all the same (the cache forgot in between), the Turn's methods
// wait for a slot then.
func (v *Verifier) Begin(ctx context.Context, peer string, hashes ...string) (*Turn, error) {
	t := v.turn(peer)
	if v.Known(hashes...) {
		return t, nil
	}
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

func (v *Verifier) turn(peer string) *Turn { return &Turn{v: v, peer: peer} }

func (t *Turn) acquire(ctx context.Context) (err error) {
	if t.release == nil {
		t.release, err = t.v.slots.Acquire(ctx, t.peer)
	}
	return err
}

// End gives the slot back. right says that the peer knew a PIN or password; that lets it pass strangers for a while. Calls
// after the first do nothing, and a Turn without a slot may be ended too.
func (t *Turn) End(right bool) {
	if t.release != nil {
		t.release(right)
	}
}

// Match returns the index of the plain text that was hashed into hash, and -1 when it is none of them. A right one is
// remembered: until it is forgotten, Match answers for this hash without a computation, whatever the plain texts. Of those that a
// scheme cannot tell apart (bcrypt ends at 72 bytes) only the remembered one is right then. Turns that ask the same at once share
// one computation. The errors are those of the function Verify, ErrBusy and the context's.
func (t *Turn) Match(ctx context.Context, hash string, plains ...string) (int, error) {
	if i, known := t.v.recall(hash, plains); known {
		return i, nil
	}
	for i, plain := range plains {
		right, err := t.share(ctx, hash, plain)
		if err != nil {
			return -1, err
		}
		if right {
			return i, nil
		}
	}
	return -1, nil
}

// share computes, or waits for the turn that computes the same, at most for one computation. It takes the slot first, so that no
// turn waits for another turn that waits for a slot.
func (t *Turn) share(ctx context.Context, hash, plain string) (bool, error) {
	v := t.v
	if err := t.acquire(ctx); err != nil {
		return false, err
	}
	if v.cache == nil {
		return v.verify(hash, plain)
	}
	both, alone := v.mark(hash, plain), v.mark(hash)
	right, err, _ := v.computations.Do(string(both[:]), func() (any, error) {
		if known, ok := v.cache.get(alone); ok { // put since Match looked
			return both == known, nil
		}
		right, err := v.verify(hash, plain)
		if right {
			v.cache.put(alone, both)
		}
		return right, err
	})
	return right == true, err
}

// Verify is the function Verify. Nothing is remembered: it is for passwords that are not ours.
func (t *Turn) Verify(ctx context.Context, hash, plain string) (bool, error) {
	if err := t.acquire(ctx); err != nil {
		return false, err
	}
	return t.v.verify(hash, plain)
}

// Dummy spends the time of Verify, see Verifier.Dummy.
func (t *Turn) Dummy(ctx context.Context, like, plain string) error {
	if err := t.acquire(ctx); err != nil {
		return err
	}
	if _, err := Cost(like); err != nil {
		if like, err = t.v.dummy(); err != nil {
			return err
		}
	}
	t.v.verify(like, plain) //nolint:errcheck // only its time counts
	return nil
}
