package queuetest_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"otpost/internal/queue"
	"otpost/internal/queue/queuetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	queuetest.Run(t, func(_ *testing.T, now func() time.Time) (queue.Driver, func()) {
		return queuetest.NewMemory(now), func() {}
	})
}
