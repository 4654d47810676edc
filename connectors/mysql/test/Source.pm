# What the tests of the mysql connector share: a private MariaDB, the connector, and drive, which calls it.
package Source;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use Test::More;
our @EXPORT = qw(server restart_server stop_server sql rows drive drive_ok background position $top $build %env);

our $top = abs_path(dirname(__FILE__) . '/../../..');
our $build = "$top/build/connectors/mysql";
our %env;
my $name;

sub run { my @cmd = @_; system(@cmd) == 0 or BAIL_OUT("@cmd failed"); }

# Builds the connector and drive, starts a server of that name with options.  In CI a missing server is a failure.
sub server
{
	($name, my @options) = @_;
	my ($user, $db) = ('td', 'shop');
	for my $tool (qw(mariadbd mariadb mariadb-install-db))
	{
		next if grep { -x "$_/$tool" } split(/:/, "$ENV{PATH}:/usr/sbin");
		BAIL_OUT("$tool is missing") if $ENV{CI};
		plan skip_all => "*** NOT TESTED: $tool is missing ***";
	}
	run('sh', '-c', "make -s -C '$top/connectors/mysql' >&2");
	run('sh', '-c', "mkdir -p '$build' && if [ ! -e '$build/drive' ] || [ -n \"\$(find '$top/connectors/mysql/test/drive.c' '$top'/src/stream -newer '$build/drive' -name '*.[ch]')\" ]; then "
		  . "cc -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -I'$top/src' -I'$top/connectors/pdk' -o '$build/drive' '$top/connectors/mysql/test/drive.c' '$top'/src/stream/*.c -ldl; fi");
	run("$top/test/servers/mariadb", 'drop', $name);
	run("$top/test/servers/mariadb", 'start', $name, @options);
	read_env();
	sql("DROP DATABASE IF EXISTS shop; CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE USER td\@'%' IDENTIFIED BY 'secret';"
		  . "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO td\@'%'; GRANT SELECT ON shop.* TO td\@'%'");
}

sub read_env
{
	open(my $f, '-|', "$top/test/servers/mariadb", 'env', $name) or BAIL_OUT('no server');
	/^(\w+)=(.*)$/ and $env{$1} = $2 while <$f>;
	close $f;
}

sub restart_server { run("$top/test/servers/mariadb", 'restart', $name, @_); read_env(); }
sub stop_server { run("$top/test/servers/mariadb", 'drop', $name) if $name; undef $name; }
END { my $rc = $?; stop_server(); $? = $rc; }

# Runs statements as root.
sub sql
{
	my ($text, @args) = @_;
	open(my $f, '|-', 'mariadb', "--defaults-file=$env{TD_MARIADB_CNF}", '--default-character-set=utf8mb4', '--comments', @args, 'mysql') or die;
	print $f "SET sql_mode = '', time_zone = '+00:00'; USE shop;\n" if $text !~ /^DROP DATABASE/;
	print $f $text;
	close $f or BAIL_OUT('SQL failed: ' . substr($text, 0, 500));
}

# The rows of a query, each an array of its columns.
sub rows
{
	my ($query) = @_;
	open(my $f, '-|', 'mariadb', "--defaults-file=$env{TD_MARIADB_CNF}", '--default-character-set=utf8mb4', '-N', '-B', '-e',
		"SET sql_mode = '', time_zone = '+00:00'; $query", 'shop') or die;
	my @rows;
	while (<$f>) { chomp; push @rows, [split(/\t/, $_, -1)]; }
	close $f or BAIL_OUT("query failed: $query");
	return @rows;
}

# Calls drive: connection options first (as a hash), then its command.  Returns the lines it prints.
sub command { my ($options, @command) = @_; my %o = (host => '127.0.0.1', port => $env{MYPORT}, user => 'td', password => 'secret', database => 'shop', %$options);
	my $q = delete $o{quiet};
	return ("$build/drive", "$top/connectors/mysql/mysql.so", (map { "$_=$o{$_}" } grep { defined $o{$_} } sort keys %o), $q ? '-q' : (), '--', @command); }

sub drive
{
	my @cmd = command(@_);
	open(my $f, '-|', @cmd) or die;
	my @lines = <$f>;
	close $f;
	chomp @lines;
	return @lines;
}

# The same, for commands that must not end in an error.
sub drive_ok
{
	my @lines = drive(@_);
	my @bad = grep { /^ERROR|DAMAGED/ } @lines;
	BAIL_OUT("drive: @bad[0..0]") if @bad && $ENV{TD_BAIL};
	is("@bad", '', "no error from: $_[1]") if @bad;
	return @lines;
}

sub position { my ($p) = drive({}, 'position'); return $p; }

# Starts drive; returns a handle to its lines and its pid.
sub background
{
	my @cmd = command(@_);
	my $pid = open(my $f, '-|', @cmd) or die;
	return ($f, $pid);
}

1;
