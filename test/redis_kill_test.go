package test

import (
	"math/rand/v2"
	"testing"
	"time"

	"otpost/test/e2e"
)

// TestKillLoopWithRedis kills server, worker and Redis in turn with -9 at random moments while
// logins come in, and starts them again; every other time Redis loses the last second of its
// journal. OTPOST_SOAK=n makes n rounds of it.
func TestKillLoopWithRedis(t *testing.T) {
	t.Parallel()
	rounds := 6
	if n := soak(); n > 0 {
		rounds = n
	}
	k := &killLoop{world: newWorldOn(t, inRedis), workers: "0", ids: map[string]bool{}}
	k.sink.Use(func(e2e.Stage, e2e.Mail) error {
		<-time.After(rand.N(15 * time.Millisecond)) // so that kills hit every stage
		return nil
	})
	k.worker = k.Worker(t)
	k.mark = k.redis.Mark(t)
	for round := range rounds {
		k.round(t, round)
	}
	k.settled(t)
	k.report(t, rounds)
}

// killInTurn is killLoop.kill with Redis: one of the three in each round.
func (k *killLoop) killInTurn(t *testing.T, round int) {
	t.Helper()
	switch round % 3 {
	case 0:
		k.redisKills++
		k.redis.Kill(t)
		if round%2 == 1 {
			k.redis.CutTo(t, k.mark)
		}
		k.redis.Start(t)
		k.mark = k.redis.Mark(t)
	case 1:
		k.workerKills++
		k.worker.Kill()
		k.worker = k.Worker(t)
	case 2:
		k.serverKills++
		k.server.Kill()
		k.server = k.Serve(t)
	}
}
