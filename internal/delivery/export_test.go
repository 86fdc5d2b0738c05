package delivery

import "context"

// RelayRound runs the relay once, for tests.
func (s *Service) RelayRound(ctx context.Context, holder string) error {
	return s.RelayRounds(holder)(ctx)
}

// RelayRounds returns the rounds of one relay, for tests.
func (s *Service) RelayRounds(holder string) func(ctx context.Context) error {
	r := newRelay(s, holder)
	return func(ctx context.Context) error {
		defer r.sending.Wait()
		return r.round(ctx)
	}
}

// HandedOver waits until no job of an earlier Dispatch is on its way to the queue, for tests.
// Drain does the same and ends it.
func (s *Service) HandedOver() { s.background.running.Wait() }
