CREATE TABLE numbers (n INT) WITH ('connector' = 'datagen', 'number-of-rows' = '1000');

CREATE TABLE nothing (n INT) WITH ('connector' = 'blackhole');

INSERT INTO nothing SELECT n FROM numbers;
