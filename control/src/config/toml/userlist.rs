//! Sections `[userlist.NAME]`: users with passwords, and the groups they belong to.

use super::reader::Reader;
use super::section::Section;
use crate::config::location::Located;
use crate::config::model::Password;
use crate::config::value::text;
use crate::config::written::{Group, User, Userlist};

pub(super) fn userlist(reader: &mut Reader, name: Located<String>, mut section: Section<'_>) -> Userlist {
    let (users, groups) = (users(reader, &mut section), groups(reader, &mut section));
    section.finish(reader, &[]);
    Userlist { name, users, groups }
}

fn users(reader: &mut Reader, section: &mut Section<'_>) -> Vec<User> {
    let title = format!("`user` of {}", section.title());
    let Some(item) = section.take("user") else { return Vec::new() };
    let Some(mut inner) = reader.section(&item, title, "{ ann = { insecure-password = \"secret\" } }") else { return Vec::new() };
    let mut found = Vec::new();
    for item in inner.names() {
        let title = format!("user `{}`", *item.key);
        let Some(mut user) = reader.section(&item, title, "{ insecure-password = \"secret\" }") else { continue };
        let hashed = user.take("password").and_then(|item| reader.text(&item, "$6$...", text::not_empty)).map(Password::Hashed);
        let plain = user.take("insecure-password").and_then(|item| reader.string(&item, "secret"));
        let groups = user.take("groups").map(|item| reader.texts(&item, "ops", text::not_empty)).unwrap_or_default();
        user.finish(reader, &[]);
        let plain = plain.map(|password| Password::Plain(password.value().clone()));
        found.push(User { name: item.key, password: hashed.or(plain), groups });
    }
    found
}

fn groups(reader: &mut Reader, section: &mut Section<'_>) -> Vec<Group> {
    let title = format!("`group` of {}", section.title());
    let Some(item) = section.take("group") else { return Vec::new() };
    let Some(mut inner) = reader.section(&item, title, "{ ops = [\"ann\"] }") else { return Vec::new() };
    let group = |item: super::reader::Item<'_>| {
        let users = reader.texts(&item, "ann", text::not_empty);
        Group { name: item.key, users }
    };
    inner.names().into_iter().map(group).collect()
}
