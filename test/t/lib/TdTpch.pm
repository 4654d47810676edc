# TPC-H of our own making: tables filled by SQL from a seed, the 22 queries, and changes to all tables.
#
# Nothing of dbgen: values come from a hash of key and column, so that any scale and any seed gives the same rows again.
# Predicates are widened where the standard ones would touch nothing at SF 0.01.
package TdTpch;
use strict;
use warnings;
use Exporter 'import';

our @EXPORT_OK = qw(make_tpch tpch_queries tpch_changes tpch_batch);

my @tables = (
	'region (r_regionkey int PRIMARY KEY, r_name char(25) NOT NULL, r_comment varchar(152))',
	'nation (n_nationkey int PRIMARY KEY, n_name char(25) NOT NULL, n_regionkey int NOT NULL REFERENCES %s.region, n_comment varchar(152))',
	'supplier (s_suppkey int PRIMARY KEY, s_name char(25) NOT NULL, s_address varchar(40) NOT NULL, s_nationkey int NOT NULL REFERENCES %s.nation, s_phone char(15) NOT NULL, s_acctbal numeric(15,2) NOT NULL, s_comment varchar(101) NOT NULL)',
	'part (p_partkey int PRIMARY KEY, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL, p_brand char(10) NOT NULL, p_type varchar(25) NOT NULL, p_size int NOT NULL, p_container char(10) NOT NULL, p_retailprice numeric(15,2) NOT NULL, p_comment varchar(23) NOT NULL)',
	'partsupp (ps_partkey int NOT NULL REFERENCES %s.part, ps_suppkey int NOT NULL REFERENCES %s.supplier, ps_availqty int NOT NULL, ps_supplycost numeric(15,2) NOT NULL, ps_comment varchar(199) NOT NULL, PRIMARY KEY (ps_partkey, ps_suppkey))',
	'customer (c_custkey int PRIMARY KEY, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL, c_nationkey int NOT NULL REFERENCES %s.nation, c_phone char(15) NOT NULL, c_acctbal numeric(15,2) NOT NULL, c_mktsegment char(10) NOT NULL, c_comment varchar(117) NOT NULL)',
	'orders (o_orderkey bigint PRIMARY KEY, o_custkey int NOT NULL REFERENCES %s.customer, o_orderstatus char(1) NOT NULL, o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL, o_clerk char(15) NOT NULL, o_shippriority int NOT NULL, o_comment varchar(79) NOT NULL)',
	'lineitem (l_orderkey bigint NOT NULL REFERENCES %s.orders ON DELETE CASCADE, l_partkey int NOT NULL, l_suppkey int NOT NULL, l_linenumber int NOT NULL, l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL, l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL, l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL, PRIMARY KEY (l_orderkey, l_linenumber), FOREIGN KEY (l_partkey, l_suppkey) REFERENCES %s.partsupp)');
my @indexes = ('nation (n_regionkey)', 'supplier (s_nationkey)', 'partsupp (ps_suppkey)', 'customer (c_nationkey)', 'orders (o_custkey)', 'lineitem (l_partkey, l_suppkey)', 'lineitem (l_suppkey)');

# r(key, column, n): a number below n; w(...): one of the words.  S, P, C, O: rows of supplier, part, customer, orders.
my %fill = (
	region => q{SELECT i, w(i, 0, ARRAY['AFRICA', 'AMERICA', 'ASIA', 'EUROPE', 'MIDDLE EAST'], i), 'r' FROM generate_series(0, 4) i},
	nation => q{SELECT i - 1, n[i], k[i], 'n' FROM generate_series(1, 25) i, (SELECT ARRAY['ALGERIA', 'ARGENTINA', 'BRAZIL', 'CANADA', 'EGYPT', 'ETHIOPIA', 'FRANCE', 'GERMANY', 'INDIA', 'INDONESIA', 'IRAN', 'IRAQ',
		'JAPAN', 'JORDAN', 'KENYA', 'MOROCCO', 'MOZAMBIQUE', 'PERU', 'CHINA', 'ROMANIA', 'SAUDI ARABIA', 'VIETNAM', 'RUSSIA', 'UNITED KINGDOM', 'UNITED STATES'] AS n,
		ARRAY[0,1,1,1,4,0,3,3,2,2,4,4,2,4,0,0,0,1,2,3,4,2,3,3,1] AS k) x},
	supplier => q{SELECT i, 'Supplier#' || lpad(i::text, 9, '0'), 'address ' || r(i, 1, 1000000), r(i, 2, 25), 10 + r(i, 2, 25) || '-' || r(i, 3, 1000), r(i, 4, 1099999) / 100.0 - 999.99,
		CASE WHEN r(i, 5, 20) = 0 THEN 'slow Customer has Complaints' ELSE 'quick deposits' END FROM generate_series(1, S) i},
	part => q{SELECT i, w(i, 1, c) || ' ' || w(i, 2, c) || ' ' || w(i, 3, c), 'Manufacturer#' || 1 + r(i, 4, 5), 'Brand#' || 1 + r(i, 4, 5) || 1 + r(i, 5, 5),
		w(i, 6, ARRAY['STANDARD', 'SMALL', 'MEDIUM', 'LARGE', 'ECONOMY', 'PROMO']) || ' ' || w(i, 7, ARRAY['ANODIZED', 'BURNISHED', 'PLATED', 'POLISHED', 'BRUSHED']) || ' ' || w(i, 8, ARRAY['TIN', 'NICKEL', 'BRASS', 'STEEL', 'COPPER']),
		1 + r(i, 9, 50), w(i, 10, ARRAY['SM', 'LG', 'MED', 'JUMBO', 'WRAP']) || ' ' || w(i, 11, ARRAY['CASE', 'BOX', 'BAG', 'JAR', 'PKG', 'PACK', 'CAN', 'DRUM']), 900 + i % 1000 + r(i, 12, 100) / 100.0, 'p'
		FROM generate_series(1, P) i, (SELECT ARRAY['almond', 'azure', 'blue', 'coral', 'drab', 'forest', 'green', 'ivory', 'linen', 'navy', 'olive', 'peru', 'rose', 'tan'] AS c) x},
	partsupp => q{SELECT i, supplier_of(i, j), 1 + r(i * 4 + j, 1, 9999), 1 + r(i * 4 + j, 2, 99900) / 100.0, 'ps' FROM generate_series(1, P) i, generate_series(0, 3) j},
	customer => q{SELECT i, 'Customer#' || i, 'address ' || r(i, 1, 1000000), r(i, 2, 25), 10 + r(i, 2, 25) || '-' || r(i, 3, 1000), r(i, 4, 1099999) / 100.0 - 999.99,
		w(i, 5, ARRAY['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'MACHINERY', 'HOUSEHOLD']), 'c' FROM generate_series(FIRST, LAST) i},
	orders => q{SELECT i, 1 + r(i, 1, C) / 3 * 3 % C, CASE WHEN r(i, 2, 2406) < 1100 THEN 'F' WHEN r(i, 2, 2406) < 1300 THEN 'P' ELSE 'O' END, 1000 + r(i, 3, 50000000) / 100.0, date '1992-01-01' + r(i, 2, 2406),
		w(i, 4, ARRAY['1-URGENT', '2-HIGH', '3-MEDIUM', '4-NOT SPECIFIED', '5-LOW']), 'Clerk#' || r(i, 5, 100), 0, CASE WHEN r(i, 6, 20) = 0 THEN 'the special bold requests' ELSE 'pending' END
		FROM generate_series(FIRST, LAST) i},
	lineitem => q{SELECT o_orderkey, p, supplier_of(p, r(k, 2, 4)), j, 1 + r(k, 3, 50), (1 + r(k, 3, 50)) * (900 + p % 1000), r(k, 4, 11) / 100.0, r(k, 5, 9) / 100.0,
		CASE WHEN ship + 1 + r(k, 7, 30) > '1995-06-17' THEN 'N' ELSE w(k, 8, ARRAY['R', 'A']) END, CASE WHEN ship > '1995-06-17' THEN 'O' ELSE 'F' END,
		ship, o_orderdate + 30 + r(k, 9, 61), ship + 1 + r(k, 7, 30), w(k, 10, ARRAY['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN']), w(k, 11, ARRAY['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB']), 'l'
		FROM orders, generate_series(1, 1 + r(o_orderkey, 7, 7)) j, LATERAL (SELECT o_orderkey * 8 + j AS k, 1 + r(o_orderkey * 8 + j, 1, P) AS p, o_orderdate + 1 + r(o_orderkey * 8 + j, 6, 121) AS ship) x
		WHERE o_orderkey BETWEEN FIRST AND LAST});

# A statement with the functions and sizes of this schema.
sub spelt
{
	my ($t, $sql, %n) = @_;
	my %size = (S => $t->{S}, P => $t->{P}, C => $t->{C}, %n);
	return $sql =~ s/\b(r|w|supplier_of)\(/$t->{schema}.$1(/gr =~ s/FROM orders\b/FROM $t->{schema}.orders/r =~ s/\b(S|P|C|FIRST|LAST)\b(?!')/$size{$1} \/\/ die "no $1"/ger;
}

sub fill { my ($t, $table, %n) = @_; return "INSERT INTO $t->{schema}.$table " . spelt($t, $fill{$table}, %n) }

# The schema, filled; returns { schema, S, P, C, O, ... }: what the changes go by.  bare: with no index but the primary keys, and
# filled without looking at foreign keys, which takes half the time.
sub make_tpch
{
	my ($dbh, $schema, $sf, $seed, %more) = @_;
	my %t = (schema => $schema, S => int(10_000 * $sf), P => int(200_000 * $sf), C => int(150_000 * $sf), O => int(1_500_000 * $sf));
	$dbh->do($_) for ("CREATE SCHEMA $schema", "SET search_path = $schema", map { 'CREATE TABLE ' . s/%s/$schema/gr } @tables);
	$dbh->do($_) for (
		"CREATE FUNCTION $schema.r(key bigint, salt int, n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ((hashint8extended(\$1, \$2 + ${seed}::bigint * 100) & 4611686018427387903) % \$3)::int'",
		"CREATE FUNCTION $schema.w(key bigint, salt int, words text[], at int DEFAULT NULL) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT words[1 + coalesce(at, $schema.r(key, salt, cardinality(words)))]'",
		"CREATE FUNCTION $schema.supplier_of(part int, j int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1 + (part + j * ($t{S} / 4 + (part - 1) / $t{S})) % $t{S}'");
	$dbh->do('SET session_replication_role = replica') if $more{bare};
	$dbh->do(fill(\%t, $_, FIRST => 1, LAST => $_ eq 'customer' ? $t{C} : $t{O})) for qw(region nation supplier part partsupp customer orders lineitem);
	$dbh->do('RESET session_replication_role') if $more{bare};
	if (!$more{bare}) { $dbh->do("CREATE INDEX ON $schema.$_") for @indexes }
	$dbh->do('ANALYZE');
	@t{qw(first next next_customer)} = (1, $t{O} + 1, $t{C} + 1);
	return \%t;
}

# ---- changes ----

# Named changes, each of a few or some hundred rows: [name, statements of one transaction].
sub tpch_changes
{
	my ($t) = @_;
	my $some = int($t->{O} / 1000) || 1;
	my ($s, $first, $next) = ($t->{schema}, $t->{first}, $t->{next});
	$t->{first} += $some;
	$t->{next} += $some;
	my $part = int($t->{O} / 150) || 1;    # some 150 orders at any scale
	my ($orders, $lines) = map { "$_ % $part = " . int rand $part } qw(o_orderkey l_orderkey);
	my @new = map { fill($t, $_, FIRST => $next, LAST => $next + $some - 1) } qw(orders lineitem);
	my @gone = ("DELETE FROM $s.orders WHERE o_orderkey BETWEEN $first AND $first + $some - 1");
	my $days = 1 + int rand 300;
	my @changes = (
		['orders come', @new], ['orders go', @gone],
		['prices', "UPDATE $s.lineitem SET l_extendedprice = l_extendedprice + 10.50, l_discount = (l_discount + 0.03) % 0.11 WHERE $lines", "UPDATE $s.orders SET o_totalprice = o_totalprice * 1.1 WHERE $orders"],
		['quantities', "UPDATE $s.lineitem SET l_quantity = 1 + (l_quantity + 23) % 50 WHERE $lines"],
		['dates', "UPDATE $s.orders SET o_orderdate = o_orderdate - $days WHERE $orders",
			"UPDATE $s.lineitem SET l_shipdate = l_shipdate + $days, l_receiptdate = l_receiptdate + $days - 30, l_commitdate = l_commitdate + 20 WHERE $lines"],
		['customers', "UPDATE $s.customer SET c_mktsegment = 'BUILDING', c_nationkey = (c_nationkey + 3) % 25, c_acctbal = c_acctbal - 100 WHERE c_custkey % 211 = @{[int rand 211]}",
			"UPDATE $s.customer SET c_mktsegment = 'MACHINERY', c_phone = '13-555' WHERE c_custkey % 199 = @{[int rand 199]}", "UPDATE $s.orders SET o_custkey = 1 + o_custkey % $t->{C} WHERE $orders"],
		['suppliers', "UPDATE $s.supplier SET s_nationkey = (s_nationkey + 1) % 25, s_acctbal = s_acctbal + 7 WHERE s_suppkey % 31 = @{[int rand 31]}",
			"UPDATE $s.supplier SET s_comment = 'Customer Complaints' WHERE s_suppkey = @{[1 + int rand $t->{S}]}"],
		['partsupps', "UPDATE $s.partsupp SET ps_supplycost = 1 + (ps_supplycost + 77) % 999, ps_availqty = (ps_availqty + 3001) % 9999 WHERE ps_partkey % 101 = @{[int rand 101]}",
			"UPDATE $s.partsupp SET ps_supplycost = 0.01 WHERE ps_partkey = @{[1 + int rand $t->{P}]}"],
		['parts', "UPDATE $s.part SET p_size = 1 + p_size % 50, p_type = 'PROMO POLISHED BRASS', p_brand = 'Brand#23', p_name = 'forest green' WHERE p_partkey % 149 = @{[int rand 149]}"]);
	return @changes;
}

# Some different numbers from .. to, as a list of SQL.
sub some_of
{
	my ($n, $from, $to) = @_;
	my %found;
	$found{ $from + int rand($to - $from + 1) } = 1 while keys %found < $n;
	return join ', ', sort { $a <=> $b } keys %found;
}

# The key of one row of each of some nations; every third customer has orders, so which third is told, too.
sub one_of_each
{
	my ($table, $key, $nation, $nations, $third) = @_;
	my ($salt, $i) = (int rand 1_000_000, 0);
	return join ', ', map { my $more = $third ? "AND $key % 3 = " . $i++ % 3 : ''; "(SELECT $key FROM $table WHERE $nation = $_ $more ORDER BY hashint4($key # $salt), $key LIMIT 1)" } split /, /, $nations;
}

# The statements of one transaction with the same number of rows at any scale: 150 orders come, 150 go and 150 change with their lines, ten of them
# their customer; 5 customers come, 5 go, 15 change; 5 suppliers and 40 partsupps change.  After the same srand() the suppliers and customers that
# change are of the same nations at any scale, and as many of them have orders: else it is luck how many lines a change of one touches.
sub tpch_batch
{
	my ($t) = @_;
	my $s = $t->{schema};
	my ($first, $next, $customer) = @$t{qw(first next next_customer)};
	my $suppliers = one_of_each("$s.supplier", 's_suppkey', 's_nationkey', some_of(5, 0, 24));
	my $customers = one_of_each("$s.customer", 'c_custkey', 'c_nationkey', some_of(15, 0, 24), 1);
	my $orders = some_of(150, $first + 150, $next - 1);
	my $moved = join ', ', (split /, /, $orders)[0 .. 9];
	my ($days, $cents) = (1 + int rand 300, 1 + int rand 1000);
	$t->{first} += 150;
	$t->{next} += 150;
	$t->{next_customer} += 5;
	return (fill($t, 'customer', FIRST => $customer, LAST => $customer + 4), map({ fill($t, $_, FIRST => $next, LAST => $next + 149) } qw(orders lineitem)),
		"DELETE FROM $s.orders WHERE o_orderkey BETWEEN $first AND $first + 149", "DELETE FROM $s.customer WHERE c_custkey BETWEEN @{[$customer - 5]} AND @{[$customer - 1]} AND c_custkey > $t->{C}",
		"UPDATE $s.lineitem SET l_quantity = 1 + (l_quantity + 23) % 50, l_extendedprice = l_extendedprice + $cents / 100.0, l_discount = (l_discount + 0.03) % 0.11, l_shipdate = l_shipdate + $days,
			l_receiptdate = l_receiptdate + $days - 30 WHERE l_orderkey IN ($orders)",
		"UPDATE $s.orders SET o_totalprice = o_totalprice + $cents / 100.0, o_orderdate = o_orderdate - $days WHERE o_orderkey IN ($orders)",
		"UPDATE $s.orders SET o_custkey = 1 + o_custkey % $t->{C} WHERE o_orderkey IN ($moved)",
		"UPDATE $s.customer SET c_acctbal = c_acctbal + $cents / 100.0, c_mktsegment = 'BUILDING', c_nationkey = (c_nationkey + 3) % 25 WHERE c_custkey IN ($customers)",
		"UPDATE $s.supplier SET s_nationkey = (s_nationkey + 1) % 25 WHERE s_suppkey IN ($suppliers)",
		"UPDATE $s.partsupp SET ps_supplycost = 1 + (ps_supplycost + $cents / 10.0) % 999, ps_availqty = 1 + (ps_availqty + 3001) % 9998 WHERE ps_partkey IN (@{[some_of(10, 1, $t->{P})]})");
}

# ---- queries ----

# name, the query, and the end that a view may have to do without
my @queries = (
	['q01', q{SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price, sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
		sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge, avg(l_quantity) AS avg_qty, avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc, count(*) AS count_order
		FROM %s.lineitem WHERE l_shipdate <= date '1998-12-01' - interval '90 days' GROUP BY l_returnflag, l_linestatus}],
	['q02', q{SELECT s_acctbal, s_name, n_name, p_partkey, p_mfgr, s_address, s_phone, s_comment FROM %s.part, %s.supplier, %s.partsupp, %s.nation, %s.region
		WHERE p_partkey = ps_partkey AND s_suppkey = ps_suppkey AND p_size < 20 AND p_type LIKE '%%BRASS' AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'EUROPE'
		AND ps_supplycost = (SELECT min(ps_supplycost) FROM %s.partsupp, %s.supplier, %s.nation, %s.region WHERE p_partkey = ps_partkey AND s_suppkey = ps_suppkey AND s_nationkey = n_nationkey
		AND n_regionkey = r_regionkey AND r_name = 'EUROPE')}, 'ORDER BY s_acctbal DESC, n_name, s_name, p_partkey LIMIT 100'],
	['q03', q{SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate, o_shippriority FROM %s.customer, %s.orders, %s.lineitem WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey
		AND l_orderkey = o_orderkey AND o_orderdate < date '1995-03-15' AND l_shipdate > date '1995-03-15' GROUP BY l_orderkey, o_orderdate, o_shippriority}, 'ORDER BY revenue DESC, o_orderdate, l_orderkey LIMIT 10'],
	['q04', q{SELECT o_orderpriority, count(*) AS order_count FROM %s.orders WHERE o_orderdate >= date '1993-07-01' AND o_orderdate < date '1995-07-01'
		AND EXISTS (SELECT * FROM %s.lineitem WHERE l_orderkey = o_orderkey AND l_commitdate < l_receiptdate) GROUP BY o_orderpriority}],
	['q05', q{SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue FROM %s.customer, %s.orders, %s.lineitem, %s.supplier, %s.nation, %s.region WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey
		AND l_suppkey = s_suppkey AND c_nationkey = s_nationkey AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey AND r_name = 'ASIA' AND o_orderdate >= date '1994-01-01'
		AND o_orderdate < date '1996-01-01' GROUP BY n_name}],
	['q06', q{SELECT sum(l_extendedprice * l_discount) AS revenue FROM %s.lineitem WHERE l_shipdate >= date '1994-01-01' AND l_shipdate < date '1996-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24}],
	['q07', q{SELECT supp_nation, cust_nation, l_year, sum(volume) AS revenue FROM (SELECT n1.n_name AS supp_nation, n2.n_name AS cust_nation, extract(year FROM l_shipdate) AS l_year,
		l_extendedprice * (1 - l_discount) AS volume FROM %s.supplier, %s.lineitem, %s.orders, %s.customer, %s.nation n1, %s.nation n2 WHERE s_suppkey = l_suppkey AND o_orderkey = l_orderkey AND c_custkey = o_custkey
		AND s_nationkey = n1.n_nationkey AND c_nationkey = n2.n_nationkey AND ((n1.n_name = 'FRANCE' AND n2.n_name = 'GERMANY') OR (n1.n_name = 'GERMANY' AND n2.n_name = 'FRANCE'))
		AND l_shipdate BETWEEN date '1993-01-01' AND date '1998-12-31') shipping GROUP BY supp_nation, cust_nation, l_year}],
	['q08', q{SELECT o_year, sum(CASE WHEN nation = 'BRAZIL' THEN volume ELSE 0 END) / sum(volume) AS mkt_share FROM (SELECT extract(year FROM o_orderdate) AS o_year, l_extendedprice * (1 - l_discount) AS volume,
		n2.n_name AS nation FROM %s.part, %s.supplier, %s.lineitem, %s.orders, %s.customer, %s.nation n1, %s.nation n2, %s.region WHERE p_partkey = l_partkey AND s_suppkey = l_suppkey AND l_orderkey = o_orderkey
		AND o_custkey = c_custkey AND c_nationkey = n1.n_nationkey AND n1.n_regionkey = r_regionkey AND r_name = 'AMERICA' AND s_nationkey = n2.n_nationkey AND o_orderdate BETWEEN date '1995-01-01' AND date '1996-12-31'
		AND p_type LIKE 'ECONOMY%%') all_nations GROUP BY o_year HAVING sum(volume) <> 0}],
	['q09', q{SELECT nation, o_year, sum(amount) AS sum_profit FROM (SELECT n_name AS nation, extract(year FROM o_orderdate) AS o_year, l_extendedprice * (1 - l_discount) - ps_supplycost * l_quantity AS amount
		FROM %s.part, %s.supplier, %s.lineitem, %s.partsupp, %s.orders, %s.nation WHERE s_suppkey = l_suppkey AND ps_suppkey = l_suppkey AND ps_partkey = l_partkey AND p_partkey = l_partkey AND o_orderkey = l_orderkey
		AND s_nationkey = n_nationkey AND p_name LIKE '%%green%%') profit GROUP BY nation, o_year}],
	['q10', q{SELECT c_custkey, c_name, sum(l_extendedprice * (1 - l_discount)) AS revenue, c_acctbal, n_name, c_address, c_phone, c_comment FROM %s.customer, %s.orders, %s.lineitem, %s.nation WHERE c_custkey = o_custkey
		AND l_orderkey = o_orderkey AND o_orderdate >= date '1993-10-01' AND o_orderdate < date '1994-10-01' AND l_returnflag = 'R' AND c_nationkey = n_nationkey
		GROUP BY c_custkey, c_name, c_acctbal, c_phone, n_name, c_address, c_comment}, 'ORDER BY revenue DESC, c_custkey LIMIT 20'],
	['q11', q{SELECT ps_partkey, sum(ps_supplycost * ps_availqty) AS value FROM %s.partsupp, %s.supplier, %s.nation WHERE ps_suppkey = s_suppkey AND s_nationkey = n_nationkey AND n_name IN ('GERMANY', 'INDIA')
		GROUP BY ps_partkey HAVING sum(ps_supplycost * ps_availqty) > (SELECT sum(ps_supplycost * ps_availqty) * FRACTION FROM %s.partsupp, %s.supplier, %s.nation WHERE ps_suppkey = s_suppkey AND s_nationkey = n_nationkey
		AND n_name IN ('GERMANY', 'INDIA'))}],
	['q12', q{SELECT l_shipmode, sum(CASE WHEN o_orderpriority = '1-URGENT' OR o_orderpriority = '2-HIGH' THEN 1 ELSE 0 END) AS high_line_count,
		sum(CASE WHEN o_orderpriority <> '1-URGENT' AND o_orderpriority <> '2-HIGH' THEN 1 ELSE 0 END) AS low_line_count FROM %s.orders, %s.lineitem WHERE o_orderkey = l_orderkey AND l_shipmode IN ('MAIL', 'SHIP')
		AND l_commitdate < l_receiptdate AND l_shipdate < l_commitdate AND l_receiptdate >= date '1994-01-01' AND l_receiptdate < date '1997-01-01' GROUP BY l_shipmode}],
	['q13', q{SELECT c_count, count(*) AS custdist FROM (SELECT c_custkey, count(o_orderkey) AS c_count FROM %s.customer LEFT OUTER JOIN %s.orders ON c_custkey = o_custkey AND o_comment NOT LIKE '%%special%%requests%%'
		GROUP BY c_custkey) c_orders GROUP BY c_count}],
	['q14', q{SELECT 100.00 * sum(CASE WHEN p_type LIKE 'PROMO%%' THEN l_extendedprice * (1 - l_discount) ELSE 0 END) / nullif(sum(l_extendedprice * (1 - l_discount)), 0) AS promo_revenue FROM %s.lineitem, %s.part
		WHERE l_partkey = p_partkey AND l_shipdate >= date '1995-01-01' AND l_shipdate < date '1996-01-01'}],
	['q15', q{WITH revenue AS (SELECT l_suppkey AS supplier_no, sum(l_extendedprice * (1 - l_discount)) AS total_revenue FROM %s.lineitem WHERE l_shipdate >= date '1996-01-01' AND l_shipdate < date '1997-01-01' GROUP BY l_suppkey)
		SELECT s_suppkey, s_name, s_address, s_phone, total_revenue FROM %s.supplier, revenue WHERE s_suppkey = supplier_no AND total_revenue > (SELECT 0.8 * max(total_revenue) FROM revenue)}],
	['q16', q{SELECT p_brand, p_type, p_size, count(DISTINCT ps_suppkey) AS supplier_cnt FROM %s.partsupp, %s.part WHERE p_partkey = ps_partkey AND p_brand <> 'Brand#45' AND p_type NOT LIKE 'MEDIUM POLISHED%%'
		AND p_size IN (49, 14, 23, 45, 19, 3, 36, 9) AND ps_suppkey NOT IN (SELECT s_suppkey FROM %s.supplier WHERE s_comment LIKE '%%Customer%%Complaints%%') GROUP BY p_brand, p_type, p_size}],
	['q17', q{SELECT sum(l_extendedprice) / 7.0 AS avg_yearly FROM %s.lineitem, %s.part WHERE p_partkey = l_partkey AND p_brand = 'Brand#23'
		AND l_quantity < (SELECT 0.4 * avg(l_quantity) FROM %s.lineitem WHERE l_partkey = p_partkey)}],
	['q18', q{SELECT c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice, sum(l_quantity) AS quantity FROM %s.customer, %s.orders, %s.lineitem WHERE o_orderkey IN (SELECT l_orderkey FROM %s.lineitem GROUP BY l_orderkey
		HAVING sum(l_quantity) > 220) AND c_custkey = o_custkey AND o_orderkey = l_orderkey GROUP BY c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice}, 'ORDER BY o_totalprice DESC, o_orderdate, o_orderkey LIMIT 100'],
	['q19', q{SELECT sum(l_extendedprice * (1 - l_discount)) AS revenue FROM %s.lineitem, %s.part WHERE (p_partkey = l_partkey AND p_brand LIKE 'Brand#1%%' AND p_container IN ('SM CASE', 'SM BOX', 'SM PACK', 'SM PKG')
		AND l_quantity >= 1 AND l_quantity <= 21 AND p_size BETWEEN 1 AND 25 AND l_shipmode IN ('AIR', 'REG AIR')) OR (p_partkey = l_partkey AND p_brand LIKE 'Brand#2%%'
		AND p_container IN ('MED BAG', 'MED BOX', 'MED PKG', 'MED PACK') AND l_quantity >= 10 AND l_quantity <= 40 AND p_size BETWEEN 1 AND 30 AND l_shipmode IN ('AIR', 'REG AIR'))
		OR (p_partkey = l_partkey AND p_brand LIKE 'Brand#3%%' AND l_quantity >= 20 AND l_quantity <= 50 AND p_size BETWEEN 1 AND 45 AND l_shipinstruct = 'DELIVER IN PERSON')}],
	['q20', q{SELECT s_name, s_address FROM %s.supplier, %s.nation WHERE s_suppkey IN (SELECT ps_suppkey FROM %s.partsupp WHERE ps_partkey IN (SELECT p_partkey FROM %s.part WHERE p_name LIKE '%%forest%%')
		AND ps_availqty > (SELECT 0.5 * sum(l_quantity) FROM %s.lineitem WHERE l_partkey = ps_partkey AND l_suppkey = ps_suppkey AND l_shipdate >= date '1994-01-01' AND l_shipdate < date '1997-01-01'))
		AND s_nationkey = n_nationkey AND n_name LIKE '%%N%%'}],
	['q21', q{SELECT s_name, count(*) AS numwait FROM %s.supplier, %s.lineitem l1, %s.orders, %s.nation WHERE s_suppkey = l1.l_suppkey AND o_orderkey = l1.l_orderkey AND o_orderstatus = 'F' AND l1.l_receiptdate > l1.l_commitdate
		AND EXISTS (SELECT * FROM %s.lineitem l2 WHERE l2.l_orderkey = l1.l_orderkey AND l2.l_suppkey <> l1.l_suppkey) AND NOT EXISTS (SELECT * FROM %s.lineitem l3 WHERE l3.l_orderkey = l1.l_orderkey
		AND l3.l_suppkey <> l1.l_suppkey AND l3.l_receiptdate > l3.l_commitdate) AND s_nationkey = n_nationkey AND n_name LIKE '%%A%%' GROUP BY s_name}, 'ORDER BY numwait DESC, s_name LIMIT 100'],
	['q22', q{SELECT cntrycode, count(*) AS numcust, sum(c_acctbal) AS totacctbal FROM (SELECT substring(c_phone FROM 1 FOR 2) AS cntrycode, c_acctbal FROM %s.customer WHERE substring(c_phone FROM 1 FOR 2) IN ('13', '31', '23', '29', '30', '18', '17')
		AND c_acctbal > (SELECT avg(c_acctbal) FROM %s.customer WHERE c_acctbal > 0.00 AND substring(c_phone FROM 1 FOR 2) IN ('13', '31', '23', '29', '30', '18', '17'))
		AND NOT EXISTS (SELECT * FROM %s.orders WHERE o_custkey = c_custkey)) custsale GROUP BY cntrycode}]);

# [name, query, its ORDER BY ... LIMIT or '']
sub tpch_queries { my ($schema, $sf) = @_; return map { [$_->[0], $_->[1] =~ s/%s/$schema/gr =~ s/%%/%/gr =~ s/FRACTION/sprintf '%.6f', 0.00002 \/ $sf/er, $_->[2] // ''] } @queries }

1;
