// Package access says who may call.
//
// It holds administrators, sessions and the delay after wrong passwords. It promises: a session
// whose owner is gone, or is from before the last change of his password, is void, of local
// administrators and of realms alike; role and name are taken from the session, and whether they
// still hold is looked up for every request; wrong passwords at /auth are paid for before they are
// checked. What it does not: decide about single rights (policies come later), and check users'
// passwords.
package access

import (
	"fmt"

	"otpost/internal/fault"
	"otpost/internal/secret"
)

// Role is what a caller is.
type Role string

// The roles. They are privacyIDEA's words and stand in its session tokens.
const (
	Admin Role = "admin"
	User  Role = "user"
)

// Identity is who calls. The zero value is nobody.
type Identity struct {
	Name  string
	Realm string // of a user, or of an administrator out of a realm (SUPERUSER_REALM); empty for a local administrator
	Role  Role
	// what Users.Mark or Administrators.Mark returned before the password was checked. Another mark ends the session
	Mark secret.Text
}

// Local reports whether the identity is an administrator of the table administrator.
func (i Identity) Local() bool { return i.Role == Admin && i.Realm == "" }

// Require returns nil when the identity has one of the roles, else the recorded fault 4306
// (testdata/rest/errors.json, "user calls admin endpoint").
func (i Identity) Require(roles ...Role) error {
	for _, role := range roles {
		if i.Role == role {
			return nil
		}
	}
	list := ""
	for n, role := range roles {
		if n > 0 {
			list += ", "
		}
		list += "'" + string(role) + "'"
	}
	return fault.New(fault.WrongRole, fmt.Sprintf(
		"Authentication failure. You do not have the necessary role ([%s]) to access this resource!", list))
}
