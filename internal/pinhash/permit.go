package pinhash

import "context"

// Permit is the right to compute hashes, for one peer and one goroutine. Begin returns it before
// the guess is paid for, so that a lack of slots costs no guess. End ends it with whether the peer
// was right.
type Permit struct {
	v       *Verifier
	peer    string
	release func(right bool) // nil: no slot
}

// Begin takes a slot unless all hashes that will be matched are Known; callers with cached hashes
// do not wait. It fails with ErrBusy or the context's error. If a computation is needed later (the
// cache dropped the hash in between), the Permit's methods wait for a slot then.
func (v *Verifier) Begin(ctx context.Context, peer string, hashes ...string) (*Permit, error) {
	t := v.permit(peer)
	if v.Known(hashes...) {
		return t, nil
	}
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

func (v *Verifier) permit(peer string) *Permit { return &Permit{v: v, peer: peer} }

func (t *Permit) acquire(ctx context.Context) (err error) {
	if t.release == nil {
		t.release, err = t.v.slots.Acquire(ctx, t.peer)
	}
	return err
}

// End releases the slot. right says that the peer knew a PIN or password, which gives it priority
// for a while. Calls after the first do nothing. A Permit without a slot may be ended, too.
func (t *Permit) End(right bool) {
	if t.release != nil {
		t.release(right)
	}
}

// Match returns the index of the plain text that was hashed into hash, or -1. A right plain text is
// cached: while the cache has it, Match needs no computation for this hash and any plain texts. Of
// plain texts that a scheme does not distinguish (bcrypt ends at 72 bytes), only the cached one is
// right then. Concurrent equal computations are shared. The errors are those of the function
// Verify, ErrBusy and the context's.
func (t *Permit) Match(ctx context.Context, hash string, plains ...string) (int, error) {
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

// share computes, or waits for the permit that computes the same, at most for one computation. It
// takes the slot first, so that no permit waits for another permit that waits for a slot.
func (t *Permit) share(ctx context.Context, hash, plain string) (bool, error) {
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

// Verify is the function Verify without the cache, for passwords of foreign stores.
func (t *Permit) Verify(ctx context.Context, hash, plain string) (bool, error) {
	if err := t.acquire(ctx); err != nil {
		return false, err
	}
	return t.v.verify(hash, plain)
}

// Dummy spends the time of Verify, see Verifier.Dummy.
func (t *Permit) Dummy(ctx context.Context, like, plain string) error {
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
