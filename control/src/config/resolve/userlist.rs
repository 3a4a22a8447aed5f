//! Lists of users: groups and users name each other, and must exist.

use super::Resolver;
use crate::config::location::Located;
use crate::config::model::{User, Userlist};
use crate::config::written;

pub(super) fn userlist(resolver: &mut Resolver, written: written::Userlist) -> Userlist {
    let known = |names: &[&Located<String>], name: &Located<String>| names.iter().any(|known| known.value() == name.value());
    let groups: Vec<_> = written.groups.iter().map(|group| &group.name).collect();
    let users: Vec<_> = written.users.iter().map(|user| &user.name).collect();
    for group in written.users.iter().flat_map(|user| &user.groups).filter(|group| !known(&groups, group)) {
        resolver.error(group.location(), format!("no group `{group}` in userlist `{}`", written.name), "declare it: group NAME");
    }
    for user in written.groups.iter().flat_map(|group| &group.users).filter(|user| !known(&users, user)) {
        resolver.error(user.location(), format!("no user `{user}` in userlist `{}`", written.name), "declare it: user NAME");
    }
    let groups_of = |user: &written::User| {
        let of_groups = written.groups.iter().filter(|group| group.users.iter().any(|name| name.value() == user.name.value()));
        let mut all: Vec<String> = user.groups.iter().chain(of_groups.map(|group| &group.name)).map(|name| name.value().clone()).collect();
        all.sort();
        all.dedup();
        all
    };
    let user = |user: &written::User| User { name: user.name.clone(), password: user.password.clone(), groups: groups_of(user) };
    Userlist { users: written.users.iter().map(user).collect(), name: written.name.clone() }
}
