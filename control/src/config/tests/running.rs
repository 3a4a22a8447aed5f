//! What commands have changed, written as a file would have it.

use crate::config::{Config, Server};

/// Reads a configuration and lets commands change everything that they can.
fn changed(name: &str, text: &str) -> (Config, Config) {
    let loaded = Config::parse(name, text).expect("a sound configuration");
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let find = |config: &Config, name: &str| config.server_named("app", name).map(Server::id).expect("a server");
    let app = loaded.backend_named("app").expect("a backend").id();
    let mut now = loaded.with_server(app, &words("new [::1]:90 weight 7 check inter 3s cookie a#b")).expect("a server");
    now = now.with_address(find(&now, "new"), "127.0.0.9".parse().expect("an address"), Some(91));
    now = now.with_address(find(&now, "a"), "::2".parse().expect("an address"), Some(81));
    now = now.with_check_target(find(&now, "a"), None, Some(8080));
    now = now.with_server_maxconn(find(&now, "b"), Some(3));
    now = now.with_server_maxconn(find(&now, "t2"), None);
    now = now.without_server(find(&now, "t1"));
    now = now.without_server(find(&now, "gone"));
    now = now.with_frontend_maxconn(loaded.frontends()[0].id(), Some(77)).with_maxconn(Some(1234));
    let states: Vec<_> = now
        .servers()
        .iter()
        .map(|server| match server.name() {
            "a" => (33, true),
            "off" => (server.weight(), false),
            _ => (server.weight(), server.disabled()),
        })
        .collect();
    let now = now.with_states(states.into_iter());
    (loaded, now)
}

/// Returns what is to be seen of servers and limits.
fn seen(config: &Config) -> Vec<String> {
    let server = |server: &Server| {
        let check = server.check().map(|check| (check.target().clone(), check.interval()));
        let place = (server.name(), server.address(), server.weight(), server.disabled());
        format!("{place:?} {:?} {:?} {check:?} {:?}", server.maxconn(), server.minconn(), server.cookie())
    };
    let limits = format!("{:?} {:?}", config.global().maxconn(), config.frontends()[0].maxconn());
    config.servers().iter().map(server).chain([limits]).collect()
}

#[test]
fn files_in_haproxys_language_keep_their_lines() {
    let text = "# first\nglobal\n    nbthread 2 # of them\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  \
        timeout server 1s\nfrontend web\n  bind 127.0.0.1:80\n  default_backend app\nbackend app\n  fullconn 100\n  \
        server a 127.0.0.1:80 weight 1 check port 99 # the first\n  server b \"127.0.0.2:80\" minconn 2 maxconn 9\n  \
        server gone 127.0.0.3:80\n  server off 127.0.0.4:80 disabled\n  server-template t 2 127.0.0.5:80 maxconn 5\n\
        # the end\nbackend other\n  server x 127.0.0.1:1";
    let (loaded, now) = changed("site.cfg", text);
    assert_eq!(loaded.running(&loaded), loaded.texts());
    let [file] = now.running(&loaded).try_into().expect("one file");
    assert_eq!(
        file.text,
        "# first\nglobal\n    nbthread 2 # of them\n    maxconn 1234\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  \
        timeout server 1s\nfrontend web\n  bind 127.0.0.1:80\n  default_backend app\n    maxconn 77\nbackend app\n  fullconn 100\n  \
        server a [::2]:81 weight 1 check port 99 weight 33 disabled port 8080 # the first\n  \
        server b \"127.0.0.2:80\" minconn 2 maxconn 9 maxconn 3\n  \
        server off 127.0.0.4:80 disabled enabled\n  server t2 127.0.0.5:80 maxconn 5 maxconn 0\n  \
        server new 127.0.0.9:91 weight 7 check inter 3s cookie a\\#b\n# the end\nbackend other\n  server x 127.0.0.1:1"
    );
    let again = Config::parse("site.cfg", &file.text).expect("a sound configuration");
    assert_eq!(seen(&again), seen(&now));
}

#[test]
fn files_in_the_native_format_keep_theirs() {
    let text = "# first\n[defaults]\ntimeout = { connect = \"1s\", client = \"1s\", server = \"1s\" }\n[frontend.web]\n\
        bind = \"127.0.0.1:80\"\ndefault-backend = \"app\"\n[backend.app]\nfullconn = 100\nserver-template = { t = { count = 2, \
        address = \"127.0.0.5:80\", maxconn = 5 } }\n[backend.app.server]\n\
        a = { address = \"127.0.0.1:80\", weight = 1, check = { port = 99 } } # the first\n\
        b = { address = \"127.0.0.2:80\", minconn = 2, maxconn = 9 }\ngone = \"127.0.0.3:80\"\n\
        off = { address = \"127.0.0.4:80\", disabled = true }\n";
    let (loaded, now) = changed("site.toml", text);
    assert_eq!(loaded.running(&loaded), loaded.texts());
    let [file] = now.running(&loaded).try_into().expect("one file");
    assert!(file.text.starts_with("# first\n[defaults]\n") && file.text.contains(" # the first\n"), "{}", file.text);
    let again = Config::parse("site.toml", &file.text).unwrap_or_else(|report| panic!("{report}\n{}", file.text));
    let sorted = |config: &Config| {
        let mut seen = seen(config);
        seen.sort();
        seen
    };
    assert_eq!(sorted(&again), sorted(&now), "{}", file.text);
}
