-- A sample shop in MariaDB.  The same seed gives the same rows: RAND(n) and the sequence engine do the work.
SET @seed = IFNULL(@seed, 20260), sql_log_bin = 1;
CREATE DATABASE shop CHARACTER SET utf8mb4;
USE shop;

CREATE TABLE customers (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name varchar(80) NOT NULL,
    email varchar(120) NOT NULL UNIQUE,
    city varchar(60) NOT NULL,
    vip boolean NOT NULL DEFAULT false,
    born date,
    created_at datetime(3) NOT NULL
);
CREATE TABLE products (
    id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name varchar(80) NOT NULL,
    category enum('books', 'garden', 'kitchen', 'music', 'sport', 'toys') NOT NULL,
    price decimal(10, 2) NOT NULL,
    stock int NOT NULL
);
CREATE TABLE orders (
    id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer_id int unsigned NOT NULL,
    status enum('new', 'paid', 'packed', 'shipped', 'returned') NOT NULL,
    total decimal(12, 2) NOT NULL,
    ordered_at datetime(3) NOT NULL,
    changed_at datetime(3) NOT NULL,
    KEY (customer_id)
);
CREATE TABLE order_items (
    order_id bigint unsigned NOT NULL,
    line smallint unsigned NOT NULL,
    product_id int unsigned NOT NULL,
    quantity smallint unsigned NOT NULL,
    price decimal(10, 2) NOT NULL,
    PRIMARY KEY (order_id, line)
);

INSERT INTO customers
SELECT seq,
    CONCAT(ELT(1 + FLOOR(RAND(@seed) * 10), 'Ada', 'Björn', 'Chloé', 'Dmitri', 'Elif', 'Farah', 'Guðrún', 'Hiro', 'Inês', 'Jürgen'), ' ',
        ELT(1 + FLOOR(RAND(@seed + 1) * 8), 'Almeida', 'Brontë', 'Curie', 'Dvořák', 'Erdős', 'Fermat', 'Gödel', 'Hopper')),
    CONCAT('customer', seq, '@shop.example'),
    ELT(1 + FLOOR(RAND(@seed + 2) * 8), 'Berlin', 'København', 'Lisboa', 'Łódź', 'München', 'Paris', 'Wien', 'Zürich'),
    RAND(@seed + 3) < 0.05,
    IF(RAND(@seed + 4) < 0.1, NULL, '1950-01-01' + INTERVAL FLOOR(RAND(@seed + 5) * 20000) DAY),
    '2025-01-01' + INTERVAL FLOOR(RAND(@seed + 6) * 31536000) SECOND
FROM seq_1_to_10000;

INSERT INTO products
SELECT seq, CONCAT(ELT(1 + FLOOR(RAND(@seed + 7) * 6), 'Small', 'Large', 'Blue', 'Quiet', 'Clever', 'Spare'), ' thing no. ', seq),
    1 + FLOOR(RAND(@seed + 8) * 6), 1 + ROUND(RAND(@seed + 9) * 200, 2), FLOOR(RAND(@seed + 10) * 1000)
FROM seq_1_to_1000;

-- A multiplier that has no common divisor with the count spreads orders over customers, and lines over products.
INSERT INTO orders
SELECT seq, 1 + (seq * 7919 + @seed) % 10000, 1 + FLOOR(RAND(@seed + 11) * 4), 0,
    '2026-01-01' + INTERVAL seq * 200 SECOND, '2026-01-01' + INTERVAL seq * 200 + FLOOR(RAND(@seed + 12) * 90000) SECOND
FROM seq_1_to_100000;

INSERT INTO order_items
SELECT o.seq, l.seq, p.id, 1 + (o.seq + l.seq) % 3, p.price
FROM seq_1_to_100000 o JOIN seq_1_to_5 l ON l.seq <= 1 + (o.seq * 31 + @seed) % 5
    JOIN products p ON p.id = 1 + (o.seq * 613 + l.seq * 97) % 1000;

UPDATE orders o JOIN (SELECT order_id, SUM(quantity * price) AS total FROM order_items GROUP BY order_id) i ON i.order_id = o.id SET o.total = i.total;
