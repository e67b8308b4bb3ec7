-- expect: thrown
return function()
  return require('./secrets')
end
