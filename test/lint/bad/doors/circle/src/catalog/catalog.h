#include "connector/connector.h"
