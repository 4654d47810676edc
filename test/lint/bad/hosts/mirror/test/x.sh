fetch http://downloads.somewhere.io/pool
