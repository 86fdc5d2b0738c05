package redisq_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/queue/redisq"
)

// Redis must read what is packed as it was meant, at each length at which the form changes.
func TestRedisReadsWhatIsPacked(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, n := range []int{0, 1, 31, 32, 255, 256, 65_535, 65_536} {
		text := strings.Repeat("\xff", n)
		list := make([]string, n)
		packed := redisq.Pack("text", text, "list", list, "n", n, "less", -n, "far", int64(1)<<52,
			"yes", true, "no", false, "none", nil)
		answer, err := s.do("EVAL", `local a = cmsgpack.unpack(ARGV[1])
			local full = a.text == string.rep('\255', a.n) and #a.list == a.n and a.yes and a.no == false and a.none == nil
			return {full and 1 or 0, a.n, a.less, a.far}`, "0", packed).AsIntSlice()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int64{1, int64(n), int64(-n), 1 << 52}, answer); diff != "" {
			t.Errorf("n = %d (-want +got):\n%s", n, diff)
		}
	}
}
