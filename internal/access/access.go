// Package access says who may call.
//
// It holds administrators, sessions and the delay after wrong passwords. It promises: a session is
// void when its owner was deleted or has changed his password; this holds for local administrators
// and for users of realms. A session carries role and name, and every request looks up whether both
// still hold. A guess at /auth is counted before the password is checked. The package does not
// decide single rights (policies come later) and does not check users' passwords.
package access

import (
	"otpost/internal/fault"
	"otpost/internal/secret"
)

// Role is the role of a caller.
type Role string

// The roles. Session tokens carry these words, as privacyIDEA's do.
const (
	Admin Role = "admin"
	User  Role = "user"
)

// Identity is the caller of a request. The zero value has no role and no rights.
type Identity struct {
	Name  string
	Realm string // of a user, or of an administrator out of a realm (SUPERUSER_REALM); empty for a local administrator
	Role  Role
	// the text of Users.Mark or Administrators.Mark before the password check; a changed mark ends
	// the session
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
	return fault.Newf(fault.WrongRole, "role",
		"Authentication failure. You do not have the necessary role ([%s]) to access this resource!", list)
}
