# Two private PostgreSQL servers: views with feeds in one, pipelines that read them (connector tapdata) in the other and in the same one.
package TdFeedPipe;
use strict;
use warnings;
use DBI;
use Exporter 'import';
use Time::HiRes qw(sleep time);

our @EXPORT = qw(start_pg stop_pg drop_pgs db env connect_feed caught_up mirror_differs status_is eventually_so pg);

my $top = $ENV{TD_TOP} || do { my $f = __FILE__; $f =~ s{/?test/t/lib/[^/]+$}{}; $f eq '' ? '.' : $f };
my (%env, @started);

sub pg { my ($command, $name, @args) = @_; return system("$top/test/servers/pg", $command, $name, @args) == 0 }

# A fresh server with the extension and a login `feeder`.
sub start_pg
{
	my ($name, @conf) = @_;
	pg('drop', $name);
	push @started, $name;
	pg('start', $name, @conf) or die "no PostgreSQL server\n";
	$env{$name} = { map { /^(\w+)=(.*)$/ ? ($1, $2) : () } split /\n/, `$top/test/servers/pg env $name` };
	db($name)->do($_) for 'CREATE EXTENSION tapdata', q{CREATE ROLE feeder LOGIN PASSWORD 'feedersecret'};
	return;
}

sub env { return $env{ $_[0] } }
sub drop_pgs { pg('drop', $_) for @started; @started = (); return }

# A connection of its own; to a server that may be starting again.
sub db
{
	my ($name, $user) = @_;
	my $until = time + 30;
	while (1)
	{
		my $dbh = eval { DBI->connect("DBI:Pg:host=$env{$name}{PGHOST};port=$env{$name}{PGPORT};dbname=postgres", $user // 'postgres', '',
			{ RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1 }) };
		return $dbh if $dbh;
		die $@ if time > $until;
		sleep 0.1;
	}
}

# In $at: a connection named `$name` to $source.
sub connect_feed
{
	my ($at, $name, $source, $options) = @_;
	db($at)->do('SELECT tapdata.create_connection($1, $2, $3, $4)', undef, $name, 'tapdata', qq({"port": $env{$source}{PGPORT}, "dbname": "postgres"} ) =~ s/\} $/$options ? ", $options}" : '}'/er,
		'{"user": "feeder", "password": "feedersecret"}');
	return;
}

# The views are as of now, and the mirror is as the views; survives what is killed meanwhile.  '' or why not.
sub caught_up
{
	my ($source, $at, $pipeline, $views, $seconds) = @_;
	my $until = time + ($seconds // 60);
	my $error = '';
	while (time < $until)
	{
		return '' if eval {
			my $s = db($source);
			$s->do("SELECT tapdata.wait_view('$_', '20 s')") for @$views;
			db($at)->do(qq{SELECT tapdata.wait_pipeline('$pipeline', '20 s')});
			1 };
		$error = $@;
		my ($status, $why) = eval { db($at)->selectrow_array('SELECT status, error FROM tapdata.pipelines WHERE name = $1', undef, $pipeline) };
		return "failed: $why" if ($status // '') eq 'failed';
		sleep 0.1;
	}
	return $error;
}

sub rows_of { my ($dbh, $table) = @_; return $dbh->selectcol_arrayref("SELECT t::text FROM $table t ORDER BY 1") }

# '' = the same rows, as text, with their copies; else the first that differ.
sub mirror_differs
{
	my ($source, $view, $at, $table) = @_;
	my %count;
	$count{$_}++ for @{ rows_of(db($source), $view) };
	$count{$_}-- for @{ rows_of(db($at), $table) };
	my @wrong = grep { $count{$_} != 0 } sort keys %count;
	return join '', map { ($count{$_} > 0 ? 'missing' : 'extra') . " in $table: $_\n" } splice @wrong, 0, 3;
}

sub eventually_so
{
	my ($code, $seconds) = @_;
	my $until = time + ($seconds // 30);
	my $v;
	sleep 0.05 until ($v = eval { $code->() }) || time > $until;
	return $v;
}

# The row of a pipeline once it has that status (or time is up).
sub status_is
{
	my ($at, $pipeline, $status, $seconds) = @_;
	my $row;
	eventually_so(sub { $row = db($at)->selectrow_hashref('SELECT status, sqlstate, error, hint FROM tapdata.pipelines WHERE name = $1', undef, $pipeline); $row->{status} eq $status }, $seconds);
	return { map { $_ => $row->{$_} // '' } keys %$row };
}

1;
