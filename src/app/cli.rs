//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use super::client::{self, PublishFlags, SubscribeFlags};
use super::passwd::{self, PasswdFlags};
use super::sim::{self, SimFlags};

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
    Run {
        /// The flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
    /// Check the configuration without starting anything: exit code 0 or 2
    Check {
        /// Print the configuration in effect, as a file that could be used, with who set each value
        #[arg(long)]
        effective: bool,
        /// The flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
    /// Publish to an MQTT server, with the flags of mosquitto_pub
    #[command(disable_help_flag = true, args_override_self = true, after_help = client::publish::HELP)]
    Pub(PublishFlags),
    /// Subscribe at an MQTT server and print what comes, with the flags of mosquitto_sub
    #[command(disable_help_flag = true, args_override_self = true, after_help = client::subscribe::HELP)]
    Sub(SubscribeFlags),
    /// Make and change a password file, with the flags of mosquitto_passwd
    #[command(args_override_self = true, after_help = passwd::HELP)]
    Passwd(PasswdFlags),
    /// Play worlds in memory where everything goes wrong, and see what is promised be kept (a build with the feature `sim`)
    #[command(after_help = sim::HELP)]
    Sim(SimFlags),
    /// Ask time servers for the time, and print how far this machine's clock is off; nothing is set
    Time {
        /// A name or an address, with a port where it is not 123
        #[arg(required = true, value_name = "HOST[:PORT]")]
        servers: Vec<String>,
        /// The flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
    /// Look up a name as the server does, and print its addresses, one a line
    Resolve {
        /// A host; with --srv a service, like _mqtt._tcp.example.org
        name: String,
        /// Look up where a service is: a line has priority, weight, port and host
        #[arg(long)]
        srv: bool,
        /// Ask everybody on the local network (multicast DNS); the name ends in .local
        #[arg(long, conflicts_with = "srv")]
        mdns: bool,
        /// The flags behind the command.
        #[command(flatten)]
        flags: Flags,
    },
}

/// Flags of the server's commands. Each goes over the configuration file and the environment.
///
/// They stand before the command or behind it. They are not global to clap: `pub` and `sub` have mosquitto's `-c`, `-q` and `-v`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Flags {
    /// Read this configuration file and no other
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Listen at this address, like http://127.0.0.1:8080, or not at all: off; may be repeated
    #[arg(long, value_name = "URL")]
    pub http: Vec<String>,

    /// Listen for MQTT clients at this address, like mqtt://127.0.0.1:1883, or not at all: off; may be repeated
    #[arg(long, value_name = "URL")]
    pub mqtt: Vec<String>,

    /// Serve the files of this folder at /
    #[arg(long, value_name = "DIR")]
    pub root: Option<String>,

    /// Say more; -vv says everything
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Say less: -q warnings and errors, -qq errors only
    #[arg(short, long, action = ArgAction::Count)]
    pub quiet: u8,
}

impl Cli {
    /// What to do, and the flags, wherever they stood.
    ///
    /// Fails where they stood before a command that has its own.
    pub fn into_command(self) -> Result<(Command, Flags), clap::Error> {
        let Self { mut flags, command } = self;
        let mut command = command.unwrap_or(Command::Run { flags: Flags::default() });
        match &mut command {
            Command::Run { flags: more }
            | Command::Check { flags: more, .. }
            | Command::Time { flags: more, .. }
            | Command::Resolve { flags: more, .. } => flags.merge(std::mem::take(more)),
            Command::Pub(_) | Command::Sub(_) | Command::Passwd(_) | Command::Sim(_) if flags != Flags::default() => {
                let what = "the flags of `pub`, `sub`, `passwd` and `sim` stand behind the command";
                return Err(Self::command().error(ErrorKind::ArgumentConflict, what));
            }
            Command::Pub(_) | Command::Sub(_) | Command::Passwd(_) | Command::Sim(_) => {}
        }
        if flags.verbose > 0 && flags.quiet > 0 {
            return Err(Self::command().error(ErrorKind::ArgumentConflict, "-v and -q cannot be used together"));
        }
        Ok((command, flags))
    }
}

impl Flags {
    fn merge(&mut self, more: Self) {
        self.config = more.config.or(self.config.take());
        self.http.extend(more.http);
        self.mqtt.extend(more.mqtt);
        self.root = more.root.or(self.root.take());
        self.verbose = self.verbose.saturating_add(more.verbose);
        self.quiet = self.quiet.saturating_add(more.quiet);
    }

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
  vansire --http off                    no HTTP
  vansire -c site.toml                  as site.toml says
  vansire check -c site.toml            is site.toml good?
  vansire check --effective             what is in effect, and who set it
  vansire check --effective > vansire.toml   a configuration to start from
  vansire pub -t plant/7 -m 21.5        publish at the MQTT server of this machine
  vansire sub -t 'plant/#' -v           print what is published there
  vansire passwd -c passwords alice     a password file with one user
  vansire time pool.ntp.org             how far is the clock off?
  vansire resolve example.org           its addresses
  vansire sim --seed 7                  a world in memory where everything goes wrong, and its story

Configuration: the first of -c FILE, $VANSIRE_CONFIG, ./vansire.toml,
  $XDG_CONFIG_HOME/vansire/vansire.toml (by default in ~/.config; not for root) and
  /etc/vansire/vansire.toml; without one, built-in defaults. A variable like VANSIRE__HTTP__LISTEN goes over
  the key http.listen of the file; a flag goes over both.

Signals: SIGTERM and SIGINT let open requests finish, then end the program; a second one ends it at once.
  SIGHUP never ends it: it opens the file of the access log anew and reads the password and ACL files again, where
  there are any, and a line on stderr says what was done. The configuration is read at the start only.

Exit codes: 0 after it was told to stop, also where connections had to be cut off; 1 failed while running; 2 the command
  line or the configuration is wrong. `pub`, `sub` and `passwd` have mosquitto's: see their --help.";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Command, Flags), clap::Error> {
        Cli::try_parse_from(line.split_whitespace())?.into_command()
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
            let (command, flags) = parse(line).expect(line);
            assert_eq!(command, Command::Run { flags: Flags::default() }, "{line}");
            assert_eq!(flags.config, Some("f".into()), "{line}");
            assert_eq!(flags.http, ["http://a:1", "http://b:2"], "{line}");
            assert_eq!(flags.root.as_deref(), Some("d"), "{line}");
            assert_eq!(flags.louder(), 2, "{line}");
        }
        let (command, flags) = parse("vansire check -c f -q").expect("check");
        assert_eq!(command, Command::Check { effective: false, flags: Flags::default() });
        assert_eq!(flags.louder(), -1);
        let (command, _) = parse("vansire check --effective").expect("check");
        assert_eq!(command, Command::Check { effective: true, flags: Flags::default() });
        let (_, flags) = parse("vansire -c f -v resolve a -c g -v").expect("resolve");
        assert_eq!((flags.config, flags.verbose), (Some("g".into()), 2));
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
            ("vansire -v run -q", true),
            ("vansire -v sub -t a", true),
            ("vansire -c f passwd f u", true),
            ("vansire pub --nope", true),
            ("vansire pub --help", false),
            ("vansire sub --help", false),
            ("vansire help pub", false),
            ("vansire passwd --help", false),
            ("vansire sim --help", false),
            ("vansire sim --seeds 9..8", true),
            ("vansire sim --seed 1 --seeds 0..8", true),
            ("vansire sim --seeds 0..8 --keep 1", true),
            ("vansire sim --keep 1,x", true),
            ("vansire -v sim", true),
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
        let mut command = Cli::command();
        command.build();
        for command in std::iter::once(&command.clone()).chain(command.get_subcommands()) {
            for line in command.clone().render_help().to_string().lines() {
                assert!(line.chars().count() <= 120, "{}: {line}", command.get_name());
            }
        }
    }
}
