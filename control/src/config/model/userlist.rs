//! Who may prove to be somebody: users with passwords, and the groups they belong to.

use crate::config::location::Located;

/// A section `userlist`.
#[derive(Clone, Debug)]
pub struct Userlist {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) users: Vec<User>,
}

/// A user of a list.
#[derive(Clone, Debug)]
pub struct User {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) password: Option<Password>,
    pub(in crate::config) groups: Vec<String>,
}

/// What a user proves to know.
#[derive(Clone, Debug)]
pub enum Password {
    /// The password itself.
    Plain(String),
    /// What `crypt(3)` makes of it.
    Hashed(Located<String>),
}

impl Userlist {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the users, each of another name.
    pub fn users(&self) -> &[User] {
        &self.users
    }
}

impl User {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the password; none for one who cannot prove anything.
    pub fn password(&self) -> Option<&Password> {
        self.password.as_ref()
    }

    /// Returns the groups the user belongs to.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }
}
