package test

import (
	"fmt"
	"strings"
	"testing"

	"otpost/test/e2e"
)

// TestQueueInPartsIsTheRedisThatTheyName sends a mail through a Redis that pi.cfg names in
// parts, as coleifer/huey#174 does.
func TestQueueInPartsIsTheRedisThatTheyName(t *testing.T) {
	t.Parallel()
	redis := e2e.NewRedis(t)
	site := e2e.NewSite(t, programs, false)
	site.Append(t, fmt.Sprintf("PI_JOB_QUEUE_CLASS = 'privacyidea.lib.queues.huey_queue.HueyQueue'\n"+
		"PI_JOB_QUEUE_HOST = '127.0.0.1'\nPI_JOB_QUEUE_PORT = %d\nPI_JOB_QUEUE_DB = 3\n", redis.Port))
	w := startWorld(t, site, "--workers", "1")
	if lines := w.server.Out.Lines("queue: "); len(lines) == 0 || !strings.Contains(lines[0], redis.Address()) {
		t.Errorf("start lines: %q", lines)
	}
	l := w.enrol(t, "PARTS")
	l.begin(t, w.server.Client)
	l.finish(t, w.server.Client, w.oneCopy(t, l))
}
