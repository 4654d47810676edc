# Initial load of 1 M rows of 6 columns, mirror() to `streaming`, against the pipe that people use:
# mariadb --quick -N -e 'select *' | psql -c '\copy', into a table of the same types, primary key added afterwards.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdBench qw(pg_server maria_server drop_server pg maria turns timed rounds row wait_status connection fresh make_items run_shell seconds);

my ($pg, $my) = (pg_server('bench'), maria_server('bench'));
my ($p, $m) = (pg($pg), maria($my));
make_items($m, 1_000_000, 'true');
connection($p, $my);
$p->do('CREATE SCHEMA pipe');

sub ours
{
	$p->do(q{SELECT tapdata.drop_pipeline('load', drop_tables => true)}) if $p->selectrow_array(q{SELECT 1 FROM tapdata.pipelines WHERE name = 'load'});
	fresh($p);
	my $t = timed(sub {
		$p->do(q{SELECT tapdata.mirror('src', ARRAY['items'], into_schema => 'mirrored', name => 'load')});
		wait_status($p, 'load', 'streaming');
	});
	my ($rows) = $p->selectrow_array('SELECT count(*) FROM mirrored.items');
	die "$rows rows arrived\n" if $rows != 1_000_000;
	return $t;
}

sub through_pipe
{
	my ($key) = @_;
	$p->do('SET client_min_messages = warning');
	$p->do('DROP TABLE IF EXISTS pipe.items');
	$p->do('CREATE TABLE pipe.items (LIKE mirrored.items)');
	fresh($p);
	return timed(sub {
		run_shell("mariadb --defaults-file=$my->{TD_MARIADB_CNF} --quick -N -e 'select * from items' bench | " .
			"$pg->{TD_PG_BIN}/psql -qX -h $pg->{PGHOST} -p $pg->{PGPORT} -U postgres -c '\\copy pipe.items from stdin' postgres");
		$p->do('ALTER TABLE pipe.items ADD PRIMARY KEY (id)') if $key;
	});
}

my $t = turns(rounds(5), ours => \&ours, 'pipe and key' => sub { through_pipe(1) }, 'pipe' => sub { through_pipe(0) });
my $ratio = $t->{ours} / $t->{'pipe and key'};
row('initial load of 1 M rows of 6 columns, against the pipe', sprintf('%.2f of its time', $ratio), '<= 1.0', $ratio <= 1.0,
	sprintf('ours %.2f s; mariadb --quick into psql \copy and its primary key %.2f s (the pipe without any key %.2f s)',
		$t->{ours}, $t->{'pipe and key'}, $t->{pipe}));
$_->disconnect for $p, $m;
drop_server($_, 'bench') for qw(pg mariadb);
