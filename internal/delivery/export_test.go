package delivery

import "context"

// RelayRound runs the relay once, for tests.
func (s *Service) RelayRound(ctx context.Context, holder string) error {
	r := relay{Service: s, holder: holder}
	return r.round(ctx)
}
