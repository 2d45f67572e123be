//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

/// The command line of the program.
#[derive(Debug, Parser)]
#[command(
    name = "vansire",
    version,
    about = "A small web server and MQTT broker, and the loop they run on.\n\n\
             Without anything else, `vansire` serves a welcome page at http://127.0.0.1:8080 and MQTT clients at\n\
             mqtt://127.0.0.1:1883, for this machine only.",
    after_help = EXAMPLES
)]
pub struct Cli {
    /// The flags, before or after the command.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do; without it: run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Start the server; this is what happens without a command
    Run,
    /// Check the configuration without starting anything: exit code 0 or 2
    Check {
        /// Print the configuration in effect, as a file that could be used, with who set each value
        #[arg(long)]
        effective: bool,
    },
    /// Ask time servers for the time, and print how far this machine's clock is off; nothing is set
    Time {
        /// A name or an address, with a port where it is not 123
        #[arg(required = true, value_name = "HOST[:PORT]")]
        servers: Vec<String>,
    },
    /// Look up a name as the server does, and print its addresses, one a line
    Resolve {
        /// A host; with --srv a service, like _mqtt._tcp.example.org
        name: String,
        /// Look up where a service is: a line has priority, weight, port and host
        #[arg(long)]
        srv: bool,
    },
}

/// Flags of every command. Each goes over the configuration file and the environment.
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// Read this configuration file and no other
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Listen at this address, like http://127.0.0.1:8080; may be repeated
    #[arg(long, value_name = "URL", global = true)]
    pub http: Vec<String>,

    /// Listen for MQTT clients at this address, like mqtt://127.0.0.1:1883, or not at all: off; may be repeated
    #[arg(long, value_name = "URL", global = true)]
    pub mqtt: Vec<String>,

    /// Serve the files of this folder at /
    #[arg(long, value_name = "DIR", global = true)]
    pub root: Option<String>,

    /// Say more; -vv says everything
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Say less: -q warnings and errors, -qq errors only
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub quiet: u8,
}

impl Command {
    /// What a command line without a command means.
    pub const DEFAULT: Command = Command::Run;
}

impl Flags {
    /// Steps of the log level, up or down.
    pub fn louder(&self) -> i32 {
        i32::from(self.verbose) - i32::from(self.quiet)
    }
}

const EXAMPLES: &str = "\
Examples:
  vansire                               the welcome page at http://127.0.0.1:8080
  vansire --root ./site                 the files of ./site
  vansire --http http://0.0.0.0:80      for every network this machine is on
  vansire --mqtt off                    no MQTT
  vansire -c site.toml                  as site.toml says
  vansire check -c site.toml            is site.toml good?
  vansire check --effective             what is in effect, and who set it
  vansire check --effective > vansire.toml   a configuration to start from
  vansire time pool.ntp.org             how far is the clock off?
  vansire resolve example.org           its addresses

Configuration: the first of -c FILE, $VANSIRE_CONFIG, ./vansire.toml,
  $XDG_CONFIG_HOME/vansire/vansire.toml (by default in ~/.config; not for root) and
  /etc/vansire/vansire.toml; without one, built-in defaults. A variable like VANSIRE__HTTP__LISTEN goes over
  the key http.listen of the file; a flag goes over both.

Signals: SIGTERM and SIGINT let open requests finish, then end the program; a second one ends it at once.
  SIGHUP opens the file of the access log anew, where there is one.

Exit codes: 0 ended as asked; 1 failed while running; 2 the command line or the configuration is wrong.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command_or_without_one() {
        for line in [
            "vansire -c f --http http://a:1 --http http://b:2 --root d -vv",
            "vansire run -c f --http http://a:1 --http http://b:2 --root d -vv",
            "vansire -c f --http http://a:1 --http http://b:2 --root d -vv run",
            "vansire --config f --root d run --http http://a:1 --http http://b:2 --verbose -v",
        ] {
            let cli = parse(line).expect(line);
            assert_eq!(cli.command.unwrap_or(Command::DEFAULT), Command::Run, "{line}");
            assert_eq!(cli.flags.config, Some("f".into()), "{line}");
            assert_eq!(cli.flags.http, ["http://a:1", "http://b:2"], "{line}");
            assert_eq!(cli.flags.root.as_deref(), Some("d"), "{line}");
            assert_eq!(cli.flags.louder(), 2, "{line}");
        }
        let cli = parse("vansire check -c f -q").expect("check");
        let effective = parse("vansire check --effective").expect("check").command;
        assert_eq!(effective, Some(Command::Check { effective: true }));
        assert_eq!((cli.command, cli.flags.louder()), (Some(Command::Check { effective: false }), -1));
    }

    #[test]
    fn a_slip_is_refused_and_help_is_not_a_failure() {
        for (line, refused) in [
            ("vansire --htp x", true),
            ("vansire serve", true),
            ("vansire run extra", true),
            ("vansire time", true),
            ("vansire resolve", true),
            ("vansire --mqtt", true),
            ("vansire -c", true),
            ("vansire -v -q", true),
            ("vansire --help", false),
            ("vansire -h", false),
            ("vansire check --help", false),
            ("vansire --version", false),
            ("vansire -V", false),
        ] {
            let answer = parse(line).expect_err(line);
            assert_eq!(answer.use_stderr(), refused, "{line}");
        }
    }

    #[test]
    fn help_fits_a_terminal() {
        for line in Cli::command().render_help().to_string().lines() {
            assert!(line.chars().count() <= 110, "{line}");
        }
    }
}
