//! Who we are, and whose language we speak.

/// The level of HAProxy's language that is spoken here.
pub(crate) const LEVEL: &str = "3.2.0";

/// When HAProxy published that level.
pub(crate) const RELEASED: &str = "2025/05/28";

/// Returns the level and our own version, in the form of a version of HAProxy.
pub(crate) fn full() -> String {
    format!("{LEVEL}-l7d{}", env!("CARGO_PKG_VERSION"))
}

/// Returns what is said about us, on the line that scripts made for HAProxy look for first.
pub(crate) fn banner() -> String {
    let system = rustix::system::uname();
    let name = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    format!(
        "HAProxy version {LEVEL} compatible: l7d {}\nRunning on: {} {} {} {}\n",
        env!("CARGO_PKG_VERSION"),
        name(system.sysname()),
        name(system.release()),
        name(system.version()),
        name(system.machine())
    )
}

/// Returns what is built in, in HAProxy's words.
pub(crate) fn build() -> String {
    let mark = |is_here: bool| if is_here { '+' } else { '-' };
    let features: Vec<String> = control::config::features().iter().map(|(name, is_here)| format!("{}{name}", mark(*is_here))).collect();
    format!(
        "\nFeature list : {}\n\nBuilt with multi-threading support.\nBuilt with rustls and AWS-LC for TLSv1.2 and TLSv1.3.\n\n\
         Available polling systems :\n      epoll : pref=300,  test result OK\nTotal: 1 (1 usable), will use epoll.\n\n\
         Available multiplexer protocols :\n         h2 : mode=HTTP  side=FE|BE  mux=H2\n         h1 : mode=HTTP  side=FE|BE  mux=H1\n\
         \x20      none : mode=TCP   side=FE|BE  mux=PASS\n",
        features.join(" ")
    )
}
