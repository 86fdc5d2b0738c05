package browser_test

import "testing"

func TestTour(t *testing.T) {
	s := newSite(t)
	p := signedIn(t, s)
	for _, one := range [][2]string{{"/ui/overview", "overview"}, {"/ui/servers", "servers"}, {"/ui/servers/office", "server"}, {"/ui/users", "users"}, {"/ui/user?user=alice&realm=home", "owner"}, {"/ui/tokens/ALICE1", "token"}, {"/ui/enrol?user=bob&realm=home", "enrol"}, {"/ui/try", "try"}} {
		p.Open(one[0])
		p.Desktop()
		p.Screenshot(one[1])
		p.Phone()
		p.Screenshot(one[1])
	}
	p.Desktop()
	p.Open("/ui/try")
	p.Type("user", "alice")
	p.Type("pass", "pin-alice")
	p.Follow("button.main")
	p.WaitText("We have sent")
	p.Screenshot("trycode")
	p.Open("/ui/deliveries")
	p.Screenshot("deliveries")
	p.Phone()
	p.Screenshot("deliveries")
	p.Follow("tbody a")
	p.Screenshot("delivery")
	p.Desktop()
	p.Screenshot("delivery")
	p.Open("/ui/overview")
	p.Screenshot("overview2")
}
