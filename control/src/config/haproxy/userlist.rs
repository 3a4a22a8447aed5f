//! Sections `userlist`: users, passwords and groups.

use super::line::{Line, unknown};
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::Password;
use crate::config::value::text;
use crate::config::written::{Group, User, Userlist};

/// Begins a section `userlist NAME`.
pub(super) fn section(line: &mut Line) -> Result<Userlist, Diagnostic> {
    let name = line.parse("its name", text::not_empty)?;
    Ok(Userlist { name, users: Vec::new(), groups: Vec::new() })
}

/// Reads a line of a section `userlist`.
pub(super) fn section_line(keyword: &Located<String>, line: &mut Line, list: &mut Userlist, reader: &mut Reader) -> Result<(), Diagnostic> {
    match keyword.as_str() {
        "group" => group(line, list, reader)?,
        "user" => user(line, list, reader)?,
        _ => return Err(unknown(keyword, "section `userlist`", &["group", "user"], &[])),
    }
    line.finish()
}

fn group(line: &mut Line, list: &mut Userlist, reader: &mut Reader) -> Result<(), Diagnostic> {
    let name = line.parse("the name of a group", text::not_empty)?;
    let users = if line.accept("users") { names(line) } else { Vec::new() };
    if list.groups.iter().any(|group| group.name.value() == name.value()) {
        reader.warn(name.location(), format!("group `{}` is there already", *name), "this line is passed over");
    } else {
        list.groups.push(Group { name, users });
    }
    Ok(())
}

fn user(line: &mut Line, list: &mut Userlist, reader: &mut Reader) -> Result<(), Diagnostic> {
    let mut user = User { name: line.parse("the name of a user", text::not_empty)?, password: None, groups: Vec::new() };
    while let Some(word) = line.next() {
        match word.as_str() {
            "password" => user.password = Some(Password::Hashed(line.expect("a hashed password")?)),
            "insecure-password" => user.password = Some(Password::Plain(line.expect("a password")?.value().clone())),
            "groups" => user.groups.extend(names(line)),
            _ => return Err(unknown(&word, "`user`", &["groups", "insecure-password", "password"], &[])),
        }
    }
    if list.users.iter().any(|other| other.name.value() == user.name.value()) {
        reader.warn(user.name.location(), format!("user `{}` is there already", *user.name), "this line is passed over");
    } else {
        list.users.push(user);
    }
    Ok(())
}

/// Reads names with commas between them.
fn names(line: &mut Line) -> Vec<Located<String>> {
    let Some(word) = line.next() else { return Vec::new() };
    let mut found = Vec::new();
    let mut at = 0;
    for name in word.split(',') {
        if !name.is_empty() {
            found.push(Located::new(name.to_owned(), word.location().part(&word, at..at + name.len())));
        }
        at += name.len() + 1;
    }
    found
}
