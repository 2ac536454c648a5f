"""Songs on several machines: workers that hold models, a pool that gives them work, and Ray, which starts them."""
