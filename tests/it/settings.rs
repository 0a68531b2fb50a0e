//! Holds the program's exit codes, and that it says what is wrong before it takes the first hit.

use crate::program::{Home, Settings};
use std::fs;

#[test]
fn faults_are_named_with_file_and_line() {
    let home = Home::new(Settings::default());
    let good = home.run_here(&["check"]);
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(String::from_utf8_lossy(&good.stdout).contains("no faults; 1 site"));

    let faulty = home.file("faulty.toml");
    let text = "data_dir = \"d\"\n[door]\nlisten = \"nowhere\"\nworker = 3\n[[site]]\nkey = \"Not A Key\"\n[[site]]\nname = \"keyless\"\n";
    fs::write(&faulty, text).unwrap();
    let path = faulty.to_str().unwrap();
    for command in [&["check"][..], &["serve"], &["settings"], &["query", "select 1"], &["import", "--site", "acme", "--format", "ndjson", "x"]] {
        let output = home.run(&[command, &["--config", path]].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{command:?}: {told}");
        for (line, part) in [(3, "listen"), (4, "door.workers"), (6, "a-z"), (7, "key")] {
            assert!(told.lines().any(|fault| fault.starts_with(&format!("{path}:{line}: ")) && fault.contains(part)), "line {line}, {part}: {told}");
        }
    }
    fs::write(&faulty, "data_dir = \"d\"\n").unwrap();
    let no_site = home.run(&["check", "--config", path]);
    assert_eq!(no_site.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&no_site.stderr).contains("there is no site"));
    fs::write(&faulty, "data_dir = \n").unwrap();
    let no_toml = home.run(&["check", "--config", path]);
    assert_eq!(no_toml.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&no_toml.stderr).starts_with(&format!("{path}:1: ")));
    let missing = home.run(&["check", "--config", "missing.toml"]);
    assert_eq!(missing.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("missing.toml"));
}

#[test]
fn a_level_of_the_log_that_there_is_not_is_told() {
    let home = Home::new(Settings::default());
    let path = home.settings();
    let told = |level| {
        let output = home.run_logged(level, &["check", "--config", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let wrong = told("clearpixel=loud");
    assert!(wrong.contains(r#"CLEARPIXEL_LOG can be off, error, warn, info, debug or trace; it is "clearpixel=loud", and warn is used"#), "{wrong}");
    for right in ["", "off", "ERROR", "warn", "info", "debug", "trace"] {
        assert!(!told(right).contains("CLEARPIXEL_LOG"), "{right}");
    }
}

#[test]
fn exit_codes_and_help() {
    let home = Home::new(Settings::default());
    for wrong in [&[][..], &["no-such-command"], &["serve"], &["serve", "--no-such-option"], &["import", "--site", "acme"], &["query"], &["query", "select 1", "--format", "xml"]] {
        assert_eq!(home.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    for command in ["demo", "serve", "check", "settings", "import", "query", "report", "maintain", "verify"] {
        let help = home.run(&[command, "--help"]);
        assert!(help.status.success() && !help.stdout.is_empty(), "{command}");
    }
    let settings = home.run_here(&["settings"]);
    let text = String::from_utf8_lossy(&settings.stdout).into_owned();
    assert!(settings.status.success() && text.contains("lake.flush_after") && text.contains("in force \"1s\""), "{text}");
    let no_lake = home.run_here(&["query", "select 1"]);
    assert_eq!(no_lake.status.code(), Some(1));
    let program = home.start();
    for (wrong, code) in [("select nothing from nowhere", 1), ("drop table interactions", 1)] {
        assert_eq!(home.run_here(&["query", wrong]).status.code(), Some(code), "{wrong}");
    }
    program.stop();
    let no_site = home.run_here(&["import", "--site", "nobody", "--format", "ndjson", "x"]);
    assert_eq!(no_site.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&no_site.stderr).contains("nobody"));
}

#[test]
fn a_port_or_a_folder_in_use_is_told_at_the_start() {
    let home = Home::new(Settings::default());
    let program = home.start();
    let (status, printed) = home.spawn().ended();
    assert_eq!(status.code(), Some(1));
    assert!(printed.contains("in use by another collector"), "{printed}");

    // The public port is shared by this program's own workers, so it is held by another kind of socket here.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (setting, other) in [("listen", "admin_listen"), ("admin_listen", "listen")] {
        let text = format!(
            "data_dir = \"{}\"\n[door]\n{setting} = \"{address}\"\n{other} = \"127.0.0.1:0\"\n[[site]]\nkey = \"acme\"\n",
            home.file("elsewhere").display()
        );
        let rival = Home::new(Settings::default());
        fs::write(rival.settings(), text).unwrap();
        let (status, printed) = rival.spawn().ended();
        assert_eq!(status.code(), Some(1));
        assert!(printed.contains(&format!("door.{setting}")) && printed.contains(&address), "{printed}");
    }
    // Another collector on the very port: nothing may be shared between two of them.
    let rival = Home::new(Settings::default());
    let text = fs::read_to_string(rival.settings()).unwrap().replacen("127.0.0.1:0", &program.public.to_string(), 1);
    fs::write(rival.settings(), text).unwrap();
    let (status, printed) = rival.spawn().ended_or_listening();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "two collectors share a port: {printed}");
    program.stop();
}
