package delivery

import "context"

// RelayRound runs the relay once, for tests.
func (s *Service) RelayRound(ctx context.Context, holder string) error {
	r := newRelay(s, holder)
	defer r.sending.Wait()
	return r.round(ctx)
}
