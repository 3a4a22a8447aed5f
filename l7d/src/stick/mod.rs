//! What ties clients to servers: the cookie a client brings back, and what is remembered of it.
//!
//! An [`Affinity`] stands between the rules and the choice of a server: it says which server an exchange belongs to, and tells the client,
//! once that one or another has answered. Whether the server still takes it is for [`crate::upstream`] to find out.

mod affinity;
mod cookie;
mod date;
mod table;

pub(crate) use affinity::{Affinity, Hold, Known, MOST_TIES, Persist, Pin, Tie};
pub(crate) use cookie::{Cookie, Given, Named, Returned, dynamic_value};
pub(crate) use table::{By, Changes, Content, Cursor, Entry, Event, Key, Learnt, Record, Removal, Table, Tables, Tracked, Weight, now};
pub use table::{ORDER, Raw};
