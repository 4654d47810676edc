# What the programs of the demo share: the names of its servers, connections to them, and the digests of the four tables.
package Demo;
use strict;
use warnings;
use Cwd qw(abs_path);
use DBI;
use Exporter 'import';
use File::Basename qw(dirname);
our @EXPORT = qw($top $name $state $seed server env my_connect pg_connect commas digests);

our $top = abs_path(dirname(__FILE__) . '/../..');
our $name = $ENV{TD_DEMO_NAME} || 'demo';
our $state = ($ENV{TD_STATE} || '/var/tmp/tapdata-' . getpwuid($>)) . "/demo-$name";
our $seed = ($ENV{TD_SEED} || 20260) % 1_000_000;

sub server { my ($kind, @args) = @_; return system("$top/test/servers/$kind", @args) == 0 }
sub env { my ($kind) = @_; return map { /^(\w+)=(.*)$/ ? ($1, $2) : () } split /\n/, `'$top/test/servers/$kind' env '$name'` }

sub my_connect
{
	my %e = env('mariadb');
	return DBI->connect("DBI:MariaDB:mariadb_socket=$e{MYSOCKET};database=mysql", $e{MYUSER}, $e{MYPASSWORD}, { RaiseError => 1, PrintError => 0 });
}

sub pg_connect
{
	my ($db) = @_;
	my %e = env('pg');
	return DBI->connect("DBI:Pg:host=$e{PGHOST};port=$e{PGPORT};dbname=$db", $e{PGUSER}, '', { RaiseError => 1, PrintError => 0, PrintWarn => 0 });
}

sub commas { my $n = reverse shift; $n =~ s/(\d{3})(?=\d)/$1,/g; return scalar reverse $n }

# Of each table: how many rows, and the sum of a hash of every column of every row, computed by each side in its own words.
my @tables = (['customers', qw(id name email city vip born:date created_at:time)], ['products', qw(id name category price stock)],
	['orders', qw(id customer_id status total ordered_at:time changed_at:time)], ['order_items', qw(order_id line product_id quantity price)]);
my %text = (my => { date => '%s', time => "DATE_FORMAT(%s, '%%Y-%%m-%%d %%H:%%i:%%s.%%f')", '' => '%s' },
	pg => { date => "to_char(%s, 'YYYY-MM-DD')", time => "to_char(%s, 'YYYY-MM-DD HH24:MI:SS.US')", '' => '%s::text' });

sub digests
{
	my ($side, $dbh) = @_;
	return map {
		my ($table, @columns) = @$_;
		my $row = join ', ', map { my ($c, $t) = split /:/; sprintf "coalesce($text{$side}{ $t // '' }, '-')", $c } @columns;
		my $hash = $side eq 'my' ? "CAST(CONV(LEFT(MD5(CONCAT_WS('|', $row)), 8), 16, 10) AS UNSIGNED)" : "('x' || left(md5(concat_ws('|', $row)), 8))::bit(32)::bigint";
		[$table, $dbh->selectrow_array("SELECT count(*), sum($hash) FROM shop.$table")];
	} @tables;
}
1;
