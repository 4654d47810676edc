# The same load against pgloader (Debian): it makes the table, copies, and adds the primary key.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server maria_server drop_server pg maria turns timed rounds row wait_status connection fresh make_items run_shell);

my ($pg, $my) = (pg_server('bench'), maria_server('bench'));
my ($p, $m) = (pg($pg), maria($my));
make_items($m, 1_000_000, 'true');
connection($p, $my);
my $script = "/tmp/tapdata-bench-pgloader.$$";
umask 077;
open my $f, '>', $script or die "$script: $!";
print $f <<"LOAD";
LOAD DATABASE FROM mysql://root:$my->{MYPASSWORD}\@127.0.0.1:$my->{MYPORT}/bench
     INTO postgresql://postgres:$pg->{PGPASSWORD}\@127.0.0.1:$pg->{PGPORT}/postgres
     WITH include drop, create tables, create indexes, no foreign keys
     INCLUDING ONLY TABLE NAMES MATCHING 'items';
LOAD
close $f;

sub ours
{
	$p->do(q{SELECT tapdata.drop_pipeline('load', drop_tables => true)}) if $p->selectrow_array(q{SELECT 1 FROM tapdata.pipelines WHERE name = 'load'});
	fresh($p);
	return timed(sub {
		$p->do(q{SELECT tapdata.mirror('src', ARRAY['items'], into_schema => 'mirrored', name => 'load')});
		wait_status($p, 'load', 'streaming');
	});
}

sub pgloader
{
	$p->do('SET client_min_messages = warning');
	$p->do('DROP SCHEMA IF EXISTS bench CASCADE');
	fresh($p);
	my $t = timed(sub { run_shell("pgloader --quiet --on-error-stop $script >/tmp/tapdata-bench-pgloader.log 2>&1") });
	my ($rows) = $p->selectrow_array('SELECT count(*) FROM bench.items');
	die "pgloader brought $rows rows: see /tmp/tapdata-bench-pgloader.log\n" if $rows != 1_000_000;
	return $t;
}

my $t = eval { turns(rounds(3), ours => \&ours, pgloader => \&pgloader) };
my $error = $@;
unlink $script;
die $error if !$t;
my ($version) = `pgloader --version` =~ /version "?([0-9.]+)/;
my $ratio = $t->{pgloader} / $t->{ours};
row('the same load, against pgloader', sprintf('%.1f times as fast', $ratio), '>= 3', $ratio >= 3,
	sprintf('ours %.2f s; pgloader %s %.2f s', $t->{ours}, $version // '', $t->{pgloader}));
$_->disconnect for $p, $m;
drop_server($_, 'bench') for qw(pg mariadb);
